"""Where a model comes from: the chain of models, snapshots and runs behind it, kept in every file's own header.

A checkpoint's safetensors header has it whole (`amatl.lineage` and the run's own facts), so it survives the loss of the
run's folder; the digest of every link is that of its weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel

from schemas.digest import sha256_file
from schemas.edge.words import plural
from schemas.errors import BadDocument, NotFound
from schemas.run import Ancestor, RunReport
from trainer_client import load_model
from trainer_client.models import Family, family_of
from trainer_client.models.adapter import Adapter, combined
from trainer_client.models.weights import INDEX, header_of
from trainer_client.run_folder import FILE, open_run


class LineageResult(BaseModel):
    """A model's line, oldest first. `links[-1]` is the model itself, its digest None for a run that isn't finished."""

    model: str
    ancestors: list[Ancestor]
    itself: str


def lineage(model: str) -> LineageResult:
    """The line of a run, a checkpoint, a model or a LoRA file. Raises NotFound, BadDocument."""
    folder = Path(model).expanduser()
    if (folder / FILE).is_file():
        report = open_run(folder)
        ancestors = report.lineage or [Ancestor(name=report.base.name, digest=report.base.digest)]
        return LineageResult(model=model, ancestors=ancestors, itself=_in_words(report))
    if folder.is_file():
        found = from_header(header_of(folder))
        if not found:
            raise NotFound(f"{model}: says nothing of where it comes from; it wasn't made by this tool.")
        return LineageResult(model=model, ancestors=found[0], itself=link_in_words(found[1]))
    found = from_header(_header(load_model.resolve(model)))
    if found is None:
        return LineageResult(
            model=model, ancestors=[], itself=f"{model}, from elsewhere, {load_model.digest(model)[:12]}"
        )
    itself = found[1].model_copy(update={"digest": load_model.digest(model)})
    return LineageResult(model=model, ancestors=found[0], itself=link_in_words(itself))


def of_family(family: Family) -> list[Ancestor]:
    """The line of a loaded base, itself at the end. Of an adapter that has been baked in, its folder still tells."""
    found = from_header(_header(load_model.resolve(str(family.identity.located))))
    if found is None:
        return [Ancestor(name=family.base, digest=family.digest)]
    ancestors, itself = found
    return [*ancestors, itself.model_copy(update={"digest": family.digest})]


def of_adapter(folder: Path, found: Adapter) -> list[Ancestor]:
    """The line of a checkpoint that holds an adapter, itself at the end; its base isn't looked at."""
    line = from_header(header_of(folder / found.weights.path))
    digest = combined(found.base.digest, found)
    if line is None:
        base = Ancestor(name=found.base.name, digest=found.base.digest)
        return [base, Ancestor(name=folder.name, digest=digest, method=found.method)]
    return [*line[0], line[1].model_copy(update={"digest": digest})]


def of_file(file: Path) -> list[Ancestor]:
    """The line of a file that a run of ours made, itself at the end."""
    line = from_header(header_of(file))
    return [*(line[0] if line else []), link_of(file)]


def link_of(file: Path) -> Ancestor:
    """A file as a link of a line, by its content; of one that a run of ours made, with what its header says of it."""
    line = from_header(header_of(file))
    link = line[1] if line else Ancestor(name=file.name, digest="0" * 64)
    return link.model_copy(update={"digest": sha256_file(file)})


def metadata(report_lineage: list[Ancestor], **facts: str) -> dict[str, str]:
    """The header of what is made of the last of these."""
    line = json.dumps([ancestor.model_dump(mode="json") for ancestor in report_lineage])
    return {f"amatl.{name}": value for name, value in {**facts, "lineage": line}.items()}


def _header(found: load_model.ResolvedModel) -> Mapping[str, str]:
    folder = Path(found.base)
    if found.adapter is not None:
        return header_of(folder / found.adapter.weights.path)
    if not (folder / INDEX).is_file():
        return {}
    trained = family_of(folder).denoiser_folder  # Every training changes it: its header says where it comes from.
    paths = sorted((folder / trained).glob("*.safetensors"))
    return header_of(paths[0]) if paths else {}


def from_header(header: Mapping[str, str]) -> tuple[list[Ancestor], Ancestor] | None:
    """The models before, and the model itself with the digest of zeros, which only its files can tell."""
    facts = {name.removeprefix("amatl."): value for name, value in header.items() if name.startswith("amatl.")}
    if "run" not in facts:
        return None
    before = _ancestors(facts.get("lineage", "[]"), facts["run"])
    itself = Ancestor(
        name=facts["run"],
        digest="0" * 64,
        method=facts.get("method", "full"),
        epoch=int(facts["epoch"]) if facts.get("epoch", "").isdigit() else None,
        snapshot=facts.get("snapshot"),
        captions=facts.get("captions"),
        config_digest=facts.get("config"),
    )
    return before or _only_base(facts), itself


def _ancestors(text: str, run: str) -> list[Ancestor]:
    try:
        return [Ancestor.model_validate(entry) for entry in json.loads(text)]
    except (ValueError, TypeError) as error:
        raise BadDocument(f"The header of {run}: its lineage can't be read. Copy the file again.") from error


def _only_base(facts: Mapping[str, str]) -> list[Ancestor]:
    """What a header without a line says of the base alone."""
    known = "base_name" in facts and "base" in facts
    return [Ancestor(name=facts["base_name"], digest=facts["base"])] if known else []


def _in_words(report: RunReport) -> str:
    done = len(report.epochs)
    method = report.config.get("method", "full")
    return (
        f"{report.name}: {method} on `{report.captions}` of {report.snapshot.dataset},"
        f" {plural(done, 'epoch')}, {report.status}"
    )


def link_in_words(link: Ancestor) -> str:
    """A model in a line: what it is called, how it was made, its digest."""
    epoch = "" if link.epoch is None else f", epoch {link.epoch}"
    data = "" if link.snapshot is None else f" on `{link.captions}` of snapshot {link.snapshot[:12]}"
    made = "from elsewhere" if link.method is None else f"{link.method}{data}"
    digest = "" if set(link.digest) == {"0"} else f", digest {link.digest[:12]}"
    return f"{link.name}{epoch}: {made}{digest}"


def render(result: LineageResult) -> str:
    """For a person: a line a model, oldest first."""
    lines = [*(link_in_words(link) for link in result.ancestors), result.itself]
    return "\n".join(f"{'  ' * depth}{'' if depth == 0 else '-> '}{line}" for depth, line in enumerate(lines))
