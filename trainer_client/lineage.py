"""The lineage of a model: the models, snapshots and runs it was trained from, kept in the file's header.

A checkpoint's safetensors header holds all of it (`amatl.lineage` and the run's own fields), so it survives without the
run's folder. Each link's digest is that of its weights.
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
    """A model's lineage, oldest first. `links[-1]` is the model; its digest is None while the run is unfinished."""

    model: str
    ancestors: list[Ancestor]
    itself: str


def lineage(model: str) -> LineageResult:
    """Return the lineage of a run, a checkpoint, a model or a LoRA file. Raises NotFound, BadDocument."""
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
    """Return the lineage of a loaded base, itself last. A merged adapter is read from the base's folder."""
    found = from_header(_header(load_model.resolve(str(family.identity.located))))
    if found is None:
        return [Ancestor(name=family.base, digest=family.digest)]
    ancestors, itself = found
    return [*ancestors, itself.model_copy(update={"digest": family.digest})]


def of_adapter(folder: Path, found: Adapter) -> list[Ancestor]:
    """Return the lineage of a checkpoint with an adapter, itself last, without opening its base."""
    line = from_header(header_of(folder / found.weights.path))
    digest = combined(found.base.digest, found)
    if line is None:
        base = Ancestor(name=found.base.name, digest=found.base.digest)
        return [base, Ancestor(name=folder.name, digest=digest, method=found.method)]
    return [*line[0], line[1].model_copy(update={"digest": digest})]


def of_file(file: Path) -> list[Ancestor]:
    """Return the lineage of a file written by a run, itself last."""
    line = from_header(header_of(file))
    return [*(line[0] if line else []), link_of(file)]


def link_of(file: Path) -> Ancestor:
    """Return a file as a link by its digest, with its header's fields if a run wrote it."""
    line = from_header(header_of(file))
    link = line[1] if line else Ancestor(name=file.name, digest="0" * 64)
    return link.model_copy(update={"digest": sha256_file(file)})


def metadata(report_lineage: list[Ancestor], **facts: str) -> dict[str, str]:
    """Return the header for a model trained from the last of these links."""
    line = json.dumps([ancestor.model_dump(mode="json") for ancestor in report_lineage])
    return {f"amatl.{name}": value for name, value in {**facts, "lineage": line}.items()}


def _header(found: load_model.ResolvedModel) -> Mapping[str, str]:
    folder = Path(found.base)
    if found.adapter is not None:
        return header_of(folder / found.adapter.weights.path)
    if not (folder / INDEX).is_file():
        return {}
    trained = family_of(folder).denoiser_folder  # Every method changes it, so its header has the lineage.
    paths = sorted((folder / trained).glob("*.safetensors"))
    return header_of(paths[0]) if paths else {}


def from_header(header: Mapping[str, str]) -> tuple[list[Ancestor], Ancestor] | None:
    """Return the ancestors, then the model with a digest of zeros: only its files give the real one."""
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
    """Return the base's link from a header without a lineage."""
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
    """Describe a link: name, method, digest."""
    epoch = "" if link.epoch is None else f", epoch {link.epoch}"
    data = "" if link.snapshot is None else f" on `{link.captions}` of snapshot {link.snapshot[:12]}"
    made = "from elsewhere" if link.method is None else f"{link.method}{data}"
    digest = "" if set(link.digest) == {"0"} else f", digest {link.digest[:12]}"
    return f"{link.name}{epoch}: {made}{digest}"


def text_of_lineage(result: LineageResult) -> str:
    """Return a line per model, oldest first."""
    lines = [*(link_in_words(link) for link in result.ancestors), result.itself]
    return "\n".join(f"{'  ' * depth}{'' if depth == 0 else '-> '}{line}" for depth, line in enumerate(lines))
