"""Where a model's weights come from, down to the revision: a folder's digest, or a commit of the Hugging Face hub.

Found out without torch or transformers, and before anything is downloaded.
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
SETTLED_NS = 2_000_000_000  # the coarsest clock of a file system


@dataclass(frozen=True)
class Source:
    """`place` is what from_pretrained takes; `commit` its revision there (None for a folder)."""

    name: str
    place: str
    revision: str
    commit: str | None


def find_source(model: str, revision: str | None = None) -> Source:
    """A folder (its revision: sha256 of its files) or a model of the hub (its commit, even where cached).

    Raises NotFound where it is neither, BadOption for a revision of a folder.
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
    # A file that is written twice within a tick of the clock has one time: what is as new as that is read again.
    is_settled = time.time_ns() - max(changed_ns for _, _, changed_ns in stats) > SETTLED_NS
    digest = (_folder_digest if is_settled else _folder_digest.__wrapped__)(folder, stats)
    return Source(folder.name, str(folder), f"sha256:{digest}", None)


def _files(folder: Path) -> list[Path]:
    """Its files, hidden ones left out, by name."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sorted(path for path in files if not any(part.startswith(".") for part in path.relative_to(folder).parts))


@functools.lru_cache(maxsize=8)
def _folder_digest(folder: Path, stats: tuple[tuple[str, int, int], ...]) -> str:
    """Over the names and digests of the files; `stats` only tells whether they are still those of the last time."""
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
    """The commit that the hub has now; where it can't be asked, the one in the cache."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        found = HfApi().model_info(model, revision=revision, timeout=HUB_TIMEOUT_S)
        return str(found.sha)
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
