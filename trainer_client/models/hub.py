"""Ask the Hugging Face hub for a model once, within seconds: its own client retries for a minute.

no_answer = ask_or_cached("--base", "owner/model", "model_index.json")  # None: the hub has it
"""

from __future__ import annotations

from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread

from schemas.errors import NotFound

ASK_SECONDS = 5.0
LOCAL = "or give a local folder"


def ask(option: str, name: str, file: str, revision: str | None = None) -> NotFound | None:
    """Return None if the hub has this file, else an error with the reason and the next step.

    `option` names the model. Raise NotFound for an invalid hub name.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HFValidationError

    try:
        url = hf_hub_url(name, file, revision=revision)
    except HFValidationError:
        raise NotFound(
            f"{option} {name}: no such folder, and not a valid hub name. Give a folder, or owner/name."
        ) from None
    error = _error_of(lambda: get_hf_file_metadata(url, timeout=ASK_SECONDS))
    if error is None:
        return None
    if refusal := _refusal(error, name, file, revision):
        return NotFound(f"{option} {name}: {refusal}, {LOCAL}.")
    what, to_do = _in_words(error)
    return NotFound(f"{option} {name}: no such folder here, not in the hub's cache, and {what}. {to_do}, {LOCAL}.")


def ask_or_cached(option: str, name: str, file: str, revision: str | None = None) -> NotFound | None:
    """Like `ask`, but raise its error if the file isn't cached locally either."""
    no_answer = ask(option, name, file, revision)
    if no_answer and not is_cached(name, file, revision):
        raise no_answer
    return no_answer


def is_cached(name: str, file: str, revision: str | None = None) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(name, file, revision=revision), str)


def unreachable() -> str | None:
    """Return why the hub can't be reached, None if it responds."""
    from huggingface_hub import constants, get_session

    error = _error_of(lambda: get_session().head(constants.ENDPOINT, timeout=ASK_SECONDS))
    return None if error is None else _in_words(error)[0]


def _error_of(work: Callable[[], object]) -> Exception | None:
    """Return the error of `work`, or TimeoutError: DNS look-ups ignore a client's timeout."""
    outcome: SimpleQueue[Exception | None] = SimpleQueue()

    def run() -> None:
        try:
            work()
            outcome.put(None)
        except Exception as error:  # HTTP libraries raise many kinds of network errors.
            outcome.put(error)

    Thread(target=run, daemon=True).start()
    try:
        return outcome.get(timeout=ASK_SECONDS)
    except Empty:
        return TimeoutError()


def _refusal(error: Exception, name: str, file: str, revision: str | None) -> str | None:
    """Return a final refusal and the next step, None for temporary errors."""
    from huggingface_hub import constants, errors, get_token

    log_in = "log in with `hf auth login`"
    if isinstance(error, errors.GatedRepoError):
        return f"gated on the hub. Accept its terms at {constants.ENDPOINT}/{name} and {log_in}"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"no such folder here, no such model on the hub. Check the name, {log_in} if it is private"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"the hub has it, but not its revision {revision or 'main'}. Check --revision"
    if isinstance(error, errors.RemoteEntryNotFoundError):
        return f"the hub has it, but no {file} in it. Give another model"
    if isinstance(error, errors.DisabledRepoError):
        return "disabled on the hub. Give another model"
    if (status := _status(error)) in (401, 403):
        if get_token() is None:
            return f"the hub refuses it without a login (HTTP {status}). Check the name, and {log_in}"
        return f"the hub refuses your token (HTTP {status}). Check the name, and {log_in}"
    return None


def _in_words(error: Exception) -> tuple[str, str]:
    """Return the reason and the next step."""
    from huggingface_hub import constants, errors

    if isinstance(error, errors.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set", "Check the name, unset HF_HUB_OFFLINE to download it"
    hub = f"the hub ({constants.ENDPOINT})"
    if status := _status(error):
        return f"{hub} answers with HTTP {status}", "Check the name, try again later"
    if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
        return f"{hub} doesn't answer within {ASK_SECONDS:g} s", "Check the name, the network and HF_ENDPOINT"
    return f"{hub} can't be reached", "Check the name, the network and HF_ENDPOINT"


def _status(error: Exception) -> int | None:
    status: int | None = getattr(getattr(error, "response", None), "status_code", None)
    return status
