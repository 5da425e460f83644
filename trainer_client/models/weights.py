"""Locate, digest and save a base model's files."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.utils import logging
from safetensors.torch import save_file
from torch import nn

from schemas.digest import sha256_file
from schemas.errors import BadDocument, NotFound
from trainer_client.models import hub

INDEX = "model_index.json"
CHUNK_BYTES = 1 << 22
NOT_NEEDED = {"safety_checker": None, "feature_extractor": None, "image_encoder": None}  # Saves gigabytes.


def locate(base: str, revision: str | None = None) -> Path:
    """Return a base's folder, downloaded from the hub if needed. Raise NotFound, BadDocument."""
    path = Path(base).expanduser()
    if path.is_dir():
        return path
    if path.is_file():
        raise BadDocument(f"--base {base}: a single file, not a folder in diffusers layout.")
    if base.count("/") != 1 or base.startswith((".", "/", "~")):
        raise NotFound(
            f"--base {base}: there is no such folder. Give a folder in diffusers layout, or a hub name as owner/name."
        )
    no_answer = hub.ask_or_cached("--base", base, INDEX, revision)  # Before anything heavy is imported.
    return _download(base, revision, no_answer)


def _download(base: str, revision: str | None, no_answer: NotFound | None) -> Path:
    """Download full-precision weights, else fp16; use the cache if the hub is unreachable."""
    logging.set_verbosity(logging.CRITICAL)  # The message below sums up the attempts.
    problem: Exception | None = None
    settings: dict[str, Any] = {**NOT_NEEDED, "revision": revision, "local_files_only": no_answer is not None}
    for variant in (None, "fp16"):
        try:
            return Path(DiffusionPipeline.download(base, variant=variant, **settings))
        except (OSError, ValueError) as error:  # OSError from the hub; ValueError: no such variant.
            problem = problem or error
    if no_answer:
        raise no_answer from problem
    reason = str(problem).strip().splitlines()[0].split(". ")[0].rstrip(".:")
    raise NotFound(
        f"--base {base}: the hub has it, but the download failed ({reason}). Try again to resume it, or give a"
        " folder in diffusers layout."
    ) from problem


@contextmanager
def loading(path: Path) -> Iterator[None]:
    """Turn any loading error of a library into a BadDocument that names the component."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # `tokenizers` raises nothing narrower.
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(" .:")
        raise BadDocument(f"{path}: can't be loaded ({reason}). Download or copy the model again.") from error


def refuse_no_vocabulary(folder: Path) -> None:
    """Raise NotFound: without vocabulary files, transformers reads every caption alike."""
    if not (folder / "tokenizer.json").is_file():
        for name in ("vocab.json", "merges.txt"):
            if not (folder / name).is_file():
                raise NotFound(f"{folder / name}: missing. Download or copy the model again.")


def variant_of(folder: Path, component: str) -> str | None:
    """Return the variant (`fp16`) of a component's weights, None for plain files. Raise NotFound.

    Names: `<stem>[.<variant>][-00001-of-00002].safetensors`, or `.bin`.
    """
    names = [path.name for path in (folder / component).iterdir() if path.suffix in (".safetensors", ".bin")]
    if not names:
        raise NotFound(f"{folder / component}: no weights found. Download or copy the model again.")
    variants = [name.split("-0")[0].removesuffix(".safetensors").removesuffix(".bin").split(".")[1:] for name in names]
    if [] in variants:
        return None
    return next(variant[0] for variant in sorted(variants))


def component_digest(folder: Path, component: str, variant: str | None) -> str:
    """Return a hex SHA-256 over a component's tensors: name, dtype, shape, bytes; however split into files.

    Pickled weights (`.bin`) aren't opened: their files are hashed.
    """
    paths = [path for path in sorted((folder / component).iterdir()) if _is_variant(path, variant)]
    tensor_files = [path for path in paths if path.suffix == ".safetensors"]
    digests = dict(item for path in tensor_files for item in tensor_digests(path))
    if not tensor_files:
        digests = {path.name: sha256_file(path) for path in paths}
    return combine(digests)


def _is_variant(path: Path, variant: str | None) -> bool:
    parts = path.name.split("-0")[0].removesuffix(path.suffix).split(".")
    return path.suffix in (".safetensors", ".bin") and parts[1:] == ([variant] if variant else [])


def tensor_digests(path: Path) -> Iterable[tuple[str, str]]:
    """Yield (name, SHA-256 of dtype, shape and bytes) of every tensor."""
    with path.open("rb") as file:
        header_bytes = int.from_bytes(file.read(8), "little")
        try:
            header: dict[str, Any] = json.loads(file.read(header_bytes))
        except (ValueError, MemoryError, OverflowError) as error:
            raise BadDocument(f"{path}: not a safetensors file. Copy it again from its source.") from error
        header.pop("__metadata__", None)
        for name, entry in header.items():
            digest = hashlib.sha256(f"{entry['dtype']}{entry['shape']}".encode())
            start, end = entry["data_offsets"]
            file.seek(8 + header_bytes + start)
            for position in range(start, end, CHUNK_BYTES):
                digest.update(file.read(min(CHUNK_BYTES, end - position)))
            yield name, digest.hexdigest()


def header_of(path: Path) -> dict[str, str]:
    """Return the header's metadata, {} if none. Raise NotFound, BadDocument."""
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    except FileNotFoundError as error:
        raise NotFound(f"{path}: there is no such file.") from error
    except (OSError, ValueError, MemoryError, OverflowError) as error:
        raise BadDocument(f"{path}: not a safetensors file. Copy it again from its source.") from error
    return dict(content.get("__metadata__") or {})


def in_order(content: bytes) -> bytes:
    """Return a safetensors file with sorted metadata: the library's order is random."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header = {"__metadata__": dict(sorted(header.pop("__metadata__", {}).items())), **header}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # The tensors stay aligned.
    return len(text).to_bytes(8, "little") + text + content[end:]


def combine(digests: dict[str, str]) -> str:
    """Return one digest of named digests, whatever their order."""
    text = "".join(f"{name}\0{digest}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(text.encode()).hexdigest()


def save_weights(
    model: nn.Module,
    config_from: Path,
    folder: Path,
    dtype: torch.dtype | None,
    metadata: Mapping[str, str] | None,
    file: tuple[str, str],
) -> None:
    """Write a component's configuration, and its weights as `dtype` in one safetensors file.

    `file` is its name and a prefix for tensor names. Tensors are converted one at a time.
    """
    name, prefix = file
    folder.mkdir(parents=True, exist_ok=True)
    state = {}
    for key, tensor in model.state_dict().items():
        key = key.removeprefix("_orig_mod.")
        is_float = tensor.is_floating_point()
        target = dtype if dtype is not None and is_float else tensor.dtype
        tensor = tensor.detach().to(device="cpu", dtype=target, memory_format=torch.contiguous_format)
        state[key if key.startswith(prefix) else prefix + key] = tensor
    save_file(state, folder / name, metadata={"format": "pt", **(metadata or {})})
    shutil.copyfile(config_from / "config.json", folder / "config.json")
    shutil.copymode(folder / "config.json", folder / name)  # safetensors makes files that only the owner can read


def link_files(source: Path, target: Path, copy: bool = False) -> None:
    """Hard-link the files of `source` into `target`, or copy them if links fail."""
    target.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        if not path.is_file():
            continue
        new = target / path.name
        new.unlink(missing_ok=True)
        if copy:
            shutil.copyfile(path, new)
            continue
        try:
            os.link(path, new)
        except OSError:
            shutil.copyfile(path, new)
