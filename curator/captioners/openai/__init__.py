"""A caption by a model behind an OpenAI-compatible endpoint: a cloud, vLLM, Ollama, LM Studio.

    export OPENAI_API_KEY=...
    curator caption zoo --strategy openai --set gpt -o model=gpt-5-mini -o price_per_million_input=0.25 \\
        -o price_per_million_output=2 -o 'prompt=Describe this picture of ${name} in one sentence.'
    curator caption zoo --strategy openai --set qwen -o base_url=http://localhost:11434/v1 -o model=qwen2.5vl

The key is read from the environment (OPENAI_API_KEY, or the variable that `key_env` names) and from nowhere else; it is
never stored, printed or logged. A server that wants no key gets none.

Pictures are sent upright, on white, at most max_side_px long, never enlarged, as JPEG without their metadata.
`${field}` in prompt and system puts in what the metadata says, by the rules of `template`.

Requests that time out, break off, meet a rate limit or an error of the server are sent again, after the time that the
server asks for (Retry-After) or a growing one. An image that fails all the same, or is refused, is counted with its
reason and tried again by the next run. What no image would survive (a wrong key, an unknown model, a used-up quota)
stops the run with a line that says what to do; answers that were in are kept.

An answer cut off by max_tokens keeps its whole sentences (`unfinished`). Tokens and cost are counted, also of answers
that gave no caption.
"""

from __future__ import annotations

from curator.captioners import Model
from curator.captioners.model import Machine, open_machine
from curator.captioners.openai.options import Options

VERSION = 1
LOCATIONS = frozenset({"base_url", "key_env"})
PACE = frozenset(
    {
        "concurrency", "batch_size", "requests_per_minute", "tokens_per_minute", "timeout_s", "retries", "back_off_s",
        "price_per_million_input", "price_per_million_output",
    }
)  # fmt: skip


def fields(options: Options, available: list[str]) -> list[str]:
    """Those that the prompts name."""
    from curator.captioners.model.prompt import field_names

    return field_names(options.prompt, options.system)


def model(options: Options) -> Model:
    """An endpoint doesn't tell its weights: the revision is what the user knows of it, or who serves it."""
    from curator.captioners.openai.endpoint import find_endpoint

    host = find_endpoint(options.base_url, options.key_env).host
    return Model(name=options.model, revision=options.revision or host)


def warnings(options: Options) -> list[str]:
    """A key on its way without encryption."""
    from curator.captioners.openai.endpoint import find_endpoint, in_the_clear

    warning = in_the_clear(find_endpoint(options.base_url, options.key_env))
    return [warning] if warning else []


def machine(options: Options) -> Machine:
    """Opens the endpoint; nothing is sent yet. Raises BadOption, MachineFailed."""
    return open_machine("openai", "curator.captioners.openai.captioner", options)
