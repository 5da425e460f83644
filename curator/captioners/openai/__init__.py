"""A caption by a model behind an OpenAI-compatible endpoint: a cloud, vLLM, Ollama, LM Studio.

    export OPENAI_API_KEY=...
    curator caption zoo --strategy openai --set gpt -o model=gpt-5-mini -o price_per_million_input=0.25 \\
        -o price_per_million_output=2 -o 'prompt=Describe this picture of ${name} in one sentence.'
    curator caption zoo --strategy openai --set qwen -o base_url=http://localhost:11434/v1 -o model=qwen2.5vl

The key is read only from the environment (OPENAI_API_KEY, or the variable named by `key_env`). It is never stored,
printed or logged. Servers may work without a key.

Images are sent as JPEG without metadata: upright, on white, downscaled to max_side_px. `${field}` in prompt and system
inserts metadata, by the rules of `template`.

A request is retried after a timeout, a lost connection, a rate limit or a server error, after the time in Retry-After
or with exponential back-off. An image that still fails, or is refused, is counted with its reason and retried by the
next run. Errors that concern every image (a wrong key, an unknown model, a used-up quota) stop the run and keep the
answers received.

An answer cut off by max_tokens keeps its whole sentences (`unfinished`). Tokens and cost include answers that gave no
caption.
"""

from __future__ import annotations

from curator.captioners import Model
from curator.captioners.model import CaptionModel, load_from_module
from curator.captioners.openai.options import Options

VERSION = 1
LOCATIONS = frozenset({"base_url", "key_env"})
SPEED_OPTIONS = frozenset(
    {
        "concurrency", "batch_size", "requests_per_minute", "tokens_per_minute", "timeout_s", "retries", "back_off_s",
        "price_per_million_input", "price_per_million_output",
    }
)  # fmt: skip


def fields(options: Options, available: list[str]) -> list[str]:
    from curator.captioners.model.prompt import field_names

    return field_names(options.prompt, options.system)


def model(options: Options) -> Model:
    """Return the model. An endpoint doesn't reveal its weights: the revision is the user's, else the host name."""
    from curator.captioners.openai.endpoint import find_endpoint

    host = find_endpoint(options.base_url, options.key_env).host
    return Model(name=options.model, revision=options.revision or host)


def warnings(options: Options) -> list[str]:
    from curator.captioners.openai.endpoint import find_endpoint, unencrypted_key_warning

    warning = unencrypted_key_warning(find_endpoint(options.base_url, options.key_env))
    return [warning] if warning else []


def load_model(options: Options) -> CaptionModel:
    """Check the endpoint and its key without a request. Raises BadOption, MachineFailed."""
    return load_from_module("openai", "curator.captioners.openai.captioner", options)
