"""`trainer merge`: an adapter baked into its base, as a whole model that needs nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from pydantic import BaseModel

from schemas.digest import sha256_file
from schemas.errors import AlreadyExists, BadOption, NotFound
from schemas.progress import Progress, silent
from trainer_client import adapter, lineage, methods, record, start
from trainer_client.adapter import Adapter
from trainer_client.families import Family
from trainer_client.families.conventions import from_header, read_conventions
from trainer_client.families.weights import header_of
from trainer_client.lora_files import merge_layers, read_lora
from trainer_client.sample import find_checkpoint, read_run

DTYPES = {"fp16": torch.float16, "fp32": torch.float32}


class MergeResult(BaseModel):
    """A merged model."""

    source: Path
    base: str
    strength: float
    out: Path
    digest: str


def merge(
    source: Path,
    out: Path,
    base: str | None = None,
    epoch: int | None = None,
    strength: float = 1.0,
    save_dtype: str = "fp16",
    progress: Progress = silent,
) -> MergeResult:
    """Writes `out`, a model in diffusers layout that draws what `source` on its base draws.

    `source` is a run, a checkpoint with an adapter, or a LoRA's file; `base` says on which model, where that isn't the
    one the adapter names. Raises NotFound, BadOption, BadDocument, AlreadyExists.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise AlreadyExists(f"{out}: exists already. Choose another --out.")
    progress("merging", 0, 2, "loading")
    folder = _checkpoint(source, epoch)
    family = _merged_file(folder, base, strength) if folder.is_file() else _merged_folder(folder, base, strength)
    progress("merging", 1, 2, "saving")
    temporary = out.with_name(f".{out.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.parent.mkdir(parents=True, exist_ok=True)
    try:
        family.save(temporary, DTYPES[save_dtype], _metadata(family, folder, out))
        if out.is_dir():
            out.rmdir()
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    progress("merging", 2, 2)
    return MergeResult(source=source, base=family.base, strength=strength, out=out, digest=start.digest(str(out)))


def _checkpoint(source: Path, epoch: int | None) -> Path:
    """The adapter's folder or file."""
    if (source / record.FILE).is_file():
        report = read_run(source)
        source = source / find_checkpoint(report, source, epoch).folder
    elif epoch is not None:
        raise BadOption(f"--epoch {epoch}: {source} is no run. Leave --epoch out, or give the run's folder.")
    if not source.exists():
        raise NotFound(f"{source}: there is no such run or file.")
    if source.is_dir() and not (source / adapter.FILE).is_file():
        raise BadOption(f"{source}: a whole model already, there is nothing to merge. Use it as it is.")
    return source


def _merged_folder(folder: Path, base: str | None, strength: float) -> Family:
    found = Adapter.read(folder / adapter.FILE)
    if found.method != "lora":
        if strength != 1:
            raise BadOption(f"--strength {strength:g}: {folder} is no LoRA but {found.method}; it is merged as it is.")
        family = start.load(str(folder), under=base)
        methods.bake(family)
        return family
    family = start.load_under(start.resolve(str(folder)), base)
    family.adopt(read_conventions(folder))
    merge_layers(family, read_lora(folder / found.weights.path, family), strength)
    return family


def _merged_file(file: Path, base: str | None, strength: float) -> Family:
    base = base or header_of(file).get("amatl.base_name")
    if base is None:
        raise BadOption(f"{file}: doesn't say on which model it was trained. Say it with --base.")
    family = start.load(base)
    methods.bake(family)
    family.adopt(from_header(header_of(file)) or family.conventions)
    merge_layers(family, read_lora(file, family), strength)
    return family


def _metadata(family: Family, source: Path, out: Path) -> dict[str, str]:
    """The line of the base and of what was put on it."""
    found = start.resolve(str(source)) if source.is_dir() else None
    weights = source / found.adapter.weights.path if found and found.adapter else source
    line = lineage.from_header(header_of(weights))
    digest = start.digest(str(source)) if found else sha256_file(source)
    ancestors = [*line[0], line[1].model_copy(update={"digest": digest})] if line else lineage.of_family(family)
    return lineage.metadata(ancestors, run=out.name, method="merge", base=family.digest, base_name=family.base)


def render(result: MergeResult) -> str:
    """For a person."""
    strength = "" if result.strength == 1 else f" at strength {result.strength:g}"
    return f"{result.source}{strength} baked into {result.base}: {result.out}\ndigest {result.digest}"
