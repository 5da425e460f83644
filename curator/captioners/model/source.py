"""Resolve a model to an exact revision: the digest of a folder, or a commit of the Hugging Face hub.

Needs neither torch nor transformers, and downloads no weights.
"""

from __future__ import annotations

import functools
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from schemas.digest import sha256_file
from schemas.errors import BadOption, NotFound

HUB_TIMEOUT_S = 10.0
SETTLED_NS = 2_000_000_000  # the coarsest timestamp of a file system


@dataclass(frozen=True)
class Source:
    """A resolved model. `location`: the argument of from_pretrained; `commit`: hub revision, None for a folder."""

    name: str
    location: str
    revision: str
    commit: str | None


def find_source(model: str, revision: str | None = None) -> Source:
    """Resolve a folder (revision: sha256 of its files) or a hub model (revision: the current commit, even if cached).

    Raises NotFound if it is neither, BadOption for a revision of a folder.
    """
    folder = Path(model).expanduser()
    if not folder.is_dir():
        return _of_hub(model, revision)
    if revision is not None:
        raise BadOption(f"-o revision={revision}: {model} is a folder; its revision is the digest of its files.")
    folder = folder.resolve()
    if not (folder / "config.json").is_file():
        raise NotFound(f"{model} has no config.json: it isn't a model's folder.")
    stats = tuple((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in _files(folder))
    # A file written twice within one timestamp looks unchanged, so files that new are always read.
    is_settled = time.time_ns() - max(changed_ns for _, _, changed_ns in stats) > SETTLED_NS
    digest = (_folder_digest if is_settled else _folder_digest.__wrapped__)(folder, stats)
    return Source(folder.name, str(folder), f"sha256:{digest}", None)


def _files(folder: Path) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sorted(path for path in files if not any(part.startswith(".") for part in path.relative_to(folder).parts))


@functools.lru_cache(maxsize=8)
def _folder_digest(folder: Path, stats: tuple[tuple[str, int, int], ...]) -> str:
    """Digest the names and contents of the files. `stats` is the key of the cache."""
    files = [Path(path) for path, _, _ in stats]
    with ThreadPoolExecutor(4) as pool:
        digests = list(pool.map(sha256_file, files))
    lines = [f"{digest}  {path.relative_to(folder)}\n" for path, digest in zip(files, digests, strict=True)]
    return sha256("".join(lines).encode()).hexdigest()


@functools.lru_cache(maxsize=8)
def _of_hub(model: str, revision: str | None) -> Source:
    commit = _commit(model, revision)
    return Source(model, model, commit, commit)


def _commit(model: str, revision: str | None) -> str:
    """Return the hub's current commit, or the cached one if the hub can't be reached."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return str(HfApi().model_info(model, revision=revision, timeout=HUB_TIMEOUT_S).sha)
    except HFValidationError:
        raise NotFound(f"There is no folder {model}, and it can't be the name of a model on the hub.") from None
    except RevisionNotFoundError:
        raise NotFound(f"-o revision={revision}: {model} has no such revision on the hub.") from None
    except GatedRepoError:
        raise NotFound(f"{model} is gated: accept its terms on the hub, then log in with `hf auth login`.") from None
    except RepositoryNotFoundError:
        raise NotFound(f"There is no folder {model}, and no such model on the hub (or it is private).") from None
    except Exception as error:  # no network: whatever the HTTP library raises today
        cached = _cached_commit(model, revision)
        if cached:
            return cached
        raise NotFound(
            f"There is no folder {model}, the hub can't be reached ({type(error).__name__}), and it isn't in the cache."
        ) from None


def _cached_commit(model: str, revision: str | None) -> str | None:
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(model, "config.json", revision=revision)
    return Path(path).parent.name if isinstance(path, str) else None
