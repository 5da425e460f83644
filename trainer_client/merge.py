"""`trainer merge`: an adapter baked into its base, as a whole model that needs nothing else."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from pydantic import BaseModel

from schemas.digest import sha256_json
from schemas.errors import AlreadyExists, BadDocument, BadOption, NotFound
from schemas.progress import Progress, silent
from schemas.run import Ancestor
from trainer_client import lineage, load_model, methods
from trainer_client.methods.lora.files import Layer, LayerKey, merge_layers
from trainer_client.methods.lora.read import read_lora
from trainer_client.models import Family, adapter
from trainer_client.models.adapter import Adapter
from trainer_client.models.conventions import Conventions, from_header, read_conventions
from trainer_client.models.weights import header_of
from trainer_client.run_folder import FILE, find_checkpoint, open_run

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
    base_config: str | None = None,
    epoch: int | None = None,
    strength: float = 1.0,
    save_dtype: str = "fp16",
    progress: Progress = silent,
) -> MergeResult:
    """Writes `out`, a model in diffusers layout that draws what `source` on its base draws.

    `source` is a run, a checkpoint with an adapter, or a LoRA's file; `base` says on which model, where that isn't the
    one the adapter names, `base_config` where the configuration of a base in a single file is. Raises NotFound,
    BadOption, BadDocument, AlreadyExists.
    """
    if not math.isfinite(strength):
        raise BadOption(f"--strength {strength}: give a number, such as 0.8.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise AlreadyExists(f"{out}: exists already. Choose another --out.")
    progress("merging", 0, 2, "loading")
    folder = _checkpoint(source, epoch)
    family, under, line = (_merged_file if folder.is_file() else _merged_folder)(folder, base, base_config, strength)
    progress("merging", 1, 2, "saving")
    temporary = out.with_name(f".{out.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.parent.mkdir(parents=True, exist_ok=True)
    facts = {"run": out.name, "method": "merge", "base": line[-1].digest, "base_name": line[-1].name}
    try:
        family.save(temporary, DTYPES[save_dtype], lineage.metadata(line, **facts))
        if out.is_dir():
            out.rmdir()
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    progress("merging", 2, 2)
    return MergeResult(source=source, base=under, strength=strength, out=out, digest=load_model.digest(str(out)))


def _checkpoint(source: Path, epoch: int | None) -> Path:
    """The adapter's folder or file."""
    if (source / FILE).is_file():
        report = open_run(source)
        source = source / find_checkpoint(report, source, epoch).folder
    elif epoch is not None:
        raise BadOption(f"--epoch {epoch}: {source} is no run. Leave --epoch out, or give the run's folder.")
    if not source.exists():
        raise NotFound(f"{source}: there is no such run or file.")
    if source.is_dir() and not (source / adapter.FILE).is_file():
        raise BadOption(f"{source}: a whole model already, there is nothing to merge. Use it as it is.")
    return source


Merged = tuple[Family, str, list[Ancestor]]  # With the adapter in it, the name of its base, and the line of both.


def _merged_folder(folder: Path, base: str | None, config: str | None, strength: float) -> Merged:
    found = Adapter.read(folder / adapter.FILE)
    under = base or found.base.name
    if found.method != "lora":
        if strength != 1:
            raise BadOption(f"--strength {strength:g}: {folder} is no LoRA but {found.method}; it is merged as it is.")
        family = load_model.load(str(folder), adapter_base=base, adapter_base_config=config)
        line = lineage.of_family(family)
        return methods.bake(family), under, line
    family = load_model.load_adapter_base(load_model.resolve(str(folder)), base, config=config)
    layers = read_lora(adapter.weights_of(folder, found), family)
    line = lineage.of_adapter(folder, found)
    return _merged(family, layers, strength, read_conventions(folder), line), under, line


def _merged_file(file: Path, base: str | None, config: str | None, strength: float) -> Merged:
    header = header_of(file)
    under = base or header.get("amatl.base_name")
    if under is None:
        raise BadOption(f"{file}: doesn't say on which model it was trained. Say it with --base.")
    ours = "amatl.run" in header
    if ours and base is None and not load_model.may_exist(under):
        raise NotFound(f"{file}: its base {under} isn't there any more. Say with --base where it is.")
    own = ours and load_model.digest(under, config=config) == header.get("amatl.base")
    if ours and base is None and not own:
        raise BadDocument(
            f"{file}: was trained on {under} as it was with digest {header.get('amatl.base', '')[:12]}; it has changed"
            " since. Say with --base where that is, or what to put this on instead."
        )
    family = _under_file(under, config, continued=own)
    layers = read_lora(file, family)
    line = lineage.of_file(file) if own else [*lineage.of_family(family), lineage.link_of(file)]
    return _merged(family, layers, strength, from_header(header) or family.conventions, line), under, line


def _merged(
    family: Family, layers: Mapping[LayerKey, Layer], strength: float, conventions: Conventions, line: list[Ancestor]
) -> Family:
    """The model with the layers in it; its digest names everything that it was made of. Raises BadOption."""
    parts = [*(link.digest for link in line), str(strength)]
    merged = family.identified(conventions=conventions, changed=sha256_json(parts))
    merge_layers(merged, layers, strength)
    return merged


def _under_file(base: str, config: str | None, continued: bool) -> Family:
    """What a LoRA's file is put on. One that went on from a LoRA holds that one's update too: it replaces it."""
    found = load_model.resolve(base, config)
    if continued and found.adapter is not None and found.adapter.method == "lora":
        return load_model.load_adapter_base(found)
    return methods.bake(load_model.load(base, config=config))


def render(result: MergeResult) -> str:
    """For a person."""
    strength = "" if result.strength == 1 else f" at strength {result.strength:g}"
    return f"{result.source}{strength} baked into {result.base}: {result.out}\ndigest {result.digest}"
