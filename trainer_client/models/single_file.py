"""Convert a .safetensors model of A1111 or ComfyUI to a cached folder in diffusers layout.

Configuration and vocabulary, which the file lacks, come from `--base-config` or from the hub.
"""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.utils import logging
from safetensors import SafetensorError, safe_open
from transformers.utils import logging as transformers_logging

from schemas.digest import sha256_file, sha256_json
from schemas.edge.lock import one_at_a_time
from schemas.errors import BadDocument, BadOption, NotFound
from trainer_client.models import hub, known_families

FORMAT = 1  # Raise it if the same key would get another model.
LORA_MARKS = (".lora_down.", ".lora_A.", ".hada_w1", ".lokr_w1")
ADVICE = "Give --base-config a diffusers folder of the same architecture."


def converted(file: Path, config: str | None, cache: Path) -> Path:
    """Return the folder; convert the file if the cache lacks it.

    Raise BadDocument, BadOption, NotFound (no configuration).
    """
    names, header = _names(file)
    pipeline = _pipeline_name(file, names)
    stat = file.stat()
    content = _content(file, stat.st_size, stat.st_mtime_ns)
    key = sha256_json([FORMAT, content, _configuration(config)])[:32]
    folder = cache / "models" / key
    if (folder / "model_index.json").is_file():
        return folder
    # One process converts; others that start from the same file wait for it.
    with one_at_a_time(folder.parent.with_suffix(".lock")):
        if (folder / "model_index.json").is_file():
            return folder
        temporary = folder.with_name(f".{key}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            _load(file, pipeline, config).save_pretrained(temporary)
            _note_prediction(temporary, names, header)
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return folder


@functools.lru_cache(maxsize=4)
def _content(file: Path, size_bytes: int, changed_ns: int) -> str:
    """Return the digest, cached while size and time are unchanged."""
    return sha256_file(file)


def _names(file: Path) -> tuple[set[str], dict[str, str]]:
    if file.suffix != ".safetensors":
        raise BadDocument(f"{file}: only .safetensors files are supported (a .ckpt can run code). Convert it first.")
    try:
        with safe_open(file, framework="pt") as content:
            return set(content.keys()), content.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise BadDocument(f"{file}: can't be read ({error}). Download or copy it again.") from error


def _pipeline_name(file: Path, names: set[str]) -> str:
    if any(mark in name for name in names for mark in LORA_MARKS):
        raise BadOption(
            f"{file}: a LoRA, not a model. Bake it into its base with `trainer merge`, and start from the result."
        )
    for pipeline, family in known_families().items():
        if any(name.startswith(family.single_file_mark) for name in names):
            return pipeline
    raise BadDocument(
        f"{file}: not a Stable Diffusion 1.x, 2.x or XL model with its text encoder; others aren't supported."
    )


def _configuration(config: str | None) -> dict[str, str]:
    """Return the digests of the configuration files."""
    if config is None:
        return {}
    folder = Path(config).expanduser()
    if not (folder / "model_index.json").is_file():
        raise NotFound(f"--base-config {config}: no model_index.json in it. {ADVICE}")
    paths = [path for path in folder.rglob("*") if path.suffix in (".json", ".txt") and path.is_file()]
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in sorted(paths)}


def _load(file: Path, name: str, config: str | None) -> Any:
    for library in (logging, transformers_logging):
        library.disable_progress_bar()
        library.set_verbosity(library.CRITICAL)  # The error below sums it up.
    no_answer = None if config else hub.unreachable()
    settings: dict[str, Any] = {"config": config} if config else {"local_files_only": no_answer is not None}
    try:
        return getattr(diffusers, name).from_single_file(str(file), torch_dtype=_dtype(file), **settings)
    except MemoryError:
        raise
    except Exception as error:  # diffusers raises many kinds: shapes, missing parts, network.
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(" .:")
        if config is None:
            why = no_answer or reason
            raise NotFound(f"{file}: can't get its configuration from the hub ({why}). {ADVICE}") from error
        raise BadDocument(f"{file}: doesn't fit the configuration of {config} ({reason}). {ADVICE}") from error


def _dtype(file: Path) -> Any:
    """Return the denoiser's number format: another would double the folder or lose precision."""

    with safe_open(file, framework="pt") as content:
        first = next((name for name in sorted(content.keys()) if name.startswith("model.diffusion_model.")), None)
        kind = content.get_slice(first).get_dtype() if first else "F32"
    return {"F16": torch.float16, "BF16": torch.bfloat16}.get(kind, torch.float32)


def _note_prediction(folder: Path, names: set[str], header: dict[str, str]) -> None:
    """Record v-prediction if the file has the marker tensor or header entry."""
    if "v_pred" not in names and header.get("modelspec.prediction_type") != "v":
        return
    path = folder / "scheduler" / "scheduler_config.json"
    settings = json.loads(path.read_bytes()) | {"prediction_type": "v_prediction"}
    path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
