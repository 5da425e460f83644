"""Versions of caption sets: commit what is current, list, put back. A version is immutable and has a digest."""

from __future__ import annotations

import hashlib
from typing import Any

import polars as pl
from pydantic import BaseModel, Field

from curator.caption_sets.reference import Reference, resolve, set_versions
from curator.caption_sets.totals import caption_total
from curator.catalog import Catalog
from curator.person import user_name
from curator.where import of_images
from schemas.errors import BadOption

ROWS_A_PIECE = 100_000


class Version(BaseModel):
    """A committed version."""

    number: int
    captions: int
    digest: str = Field(description="SHA-256 over canonical JSON of the sorted [image sha256, caption].")
    message: str
    person: str
    committed_at: str


class CommitResult(BaseModel):
    """What a commit made, or that there was nothing to commit."""

    version: str = Field(description="dataset/set@n: the new version; with `unchanged`, the latest.")
    digest: str
    captions: int = Field(description="All of the set's, also of images that are gone: they may come back.")
    without_image: int = Field(description="Of these, captions of images that the dataset has no file of any more.")
    unchanged: bool
    message: str
    added: int = Field(description="Against the version before it.")
    removed: int
    changed: int


class SetVersions(BaseModel):
    """A caption set's line of versions."""

    dataset: str
    set_name: str
    captions: int = Field(description="What it has now, also of images that are gone.")
    uncommitted: int = Field(description="Captions that differ from the latest version.")
    versions: list[Version]


class VersionsResult(BaseModel):
    """Every set asked for."""

    sets: list[SetVersions]


class RestoreResult(BaseModel):
    """What a restore appended."""

    version: str
    added: int = Field(description="Captions put back where there was none.")
    removed: int = Field(description="Captions taken out, since the version has none for the image.")
    changed: int
    uncommitted: int = Field(description="Captions of the set that were in no version; the history has them.")


def captions_digest(captions: pl.DataFrame) -> str:
    """SHA-256 over the canonical JSON (RFC 8785) of [[image sha256, caption], ...]; `image_sha256`, `text`, by image.

    The JSON that Polars writes of a text is the canonical one: no blanks, no needless escapes; a test holds the two
    equal. Written and hashed piece by piece, so that memory doesn't grow with the text.
    """
    start, end = '{"text":', "}"
    text = pl.struct("text").struct.json_encode().str.strip_prefix(start).str.strip_suffix(end)
    row = pl.concat_str(pl.lit('["'), "image_sha256", pl.lit('",'), text, pl.lit("]"))
    digest = hashlib.sha256(b"[")
    for first in range(0, captions.height, ROWS_A_PIECE):
        piece = captions.slice(first, ROWS_A_PIECE).select(row.str.join(",")).item()
        digest.update(("," if first else "").encode() + piece.encode())
    digest.update(b"]")
    return digest.hexdigest()


def commit(catalog: Catalog, reference: str, message: str, person: str | None = None) -> CommitResult:
    """Freezes a set as it is now into its next version. Nothing new: says so, and commits nothing."""
    if not message.strip():
        raise BadOption("-m: say in a few words what this version is.")
    named = resolve(catalog, reference)
    if named.number is not None:
        raise BadOption(f"{reference}: a commit makes the next version; name the set alone: {_set(named)}.")
    texts = catalog.caption_texts(named.dataset, named.set_name, named.last_caption_id)
    digest = captions_digest(texts)
    versions = set_versions(catalog, named.dataset, named.set_name)
    latest = versions[-1] if versions else None
    if latest and latest["digest"] == digest:
        return _commit_result(catalog, named, latest["number"], digest, texts.height, latest["message"], None)
    changes = {"added": texts.height, "removed": 0, "changed": 0}
    if latest:
        changes = _changes_since(catalog, named, latest["last_caption_id"], named.last_caption_id)
    catalog.add_version(
        named.dataset, named.set_name, named.last_caption_id, texts.height, digest, message, person or user_name()
    )
    number = set_versions(catalog, named.dataset, named.set_name)[-1]["number"]
    return _commit_result(catalog, named, number, digest, texts.height, message, changes)


def versions(catalog: Catalog, reference: str | None = None) -> VersionsResult:
    """The versions of one set, or of every set."""
    only = resolve(catalog, reference) if reference else None
    sets = []
    for row in catalog.caption_sets().iter_rows(named=True):
        named = Reference.model_validate({**row, "number": None})
        if only and _set(only) != _set(named):
            continue
        found = set_versions(catalog, named.dataset, named.set_name)
        captions, uncommitted = _counts_of_now(catalog, named, found)
        sets.append(
            SetVersions(
                dataset=named.dataset,
                set_name=named.set_name,
                captions=captions,
                uncommitted=uncommitted,
                versions=[Version.model_validate(version) for version in found],
            )
        )
    return VersionsResult(sets=sets)


def captions_now(catalog: Catalog, dataset: str) -> dict[str, int]:
    """How many captions each set of a dataset has, also of images that are gone."""
    found = catalog.caption_sets().filter(dataset=dataset).iter_rows(named=True)
    sets = [Reference.model_validate({**row, "number": None}) for row in found]
    return {
        named.set_name: _counts_of_now(catalog, named, set_versions(catalog, dataset, named.set_name))[0]
        for named in sets
    }


def is_committed(catalog: Catalog, named: Reference) -> bool:
    """Whether a set has a version, and nothing in it differs from the latest."""
    found = set_versions(catalog, named.dataset, named.set_name)
    return bool(found) and not _counts_of_now(catalog, named, found)[1]


def restore(
    catalog: Catalog, reference: str, person: str | None = None, images: list[str] | None = None
) -> RestoreResult:
    """Puts a set back to a version by appending revisions; nothing is lost, and the version may be committed anew.

    `images`: only the captions of these (None: of all).
    Each revision keeps whose it was and what made it, so that a person's caption stays a person's.
    """
    named = resolve(catalog, reference)
    if named.number is None:
        raise BadOption(f"{reference}: name the version to restore, for example {_set(named)}@1.")
    now = resolve(catalog, _set(named)).last_caption_id
    since = set_versions(catalog, named.dataset, named.set_name)[-1]["last_caption_id"]
    uncommitted = sum(_changes_since(catalog, named, since, now).values())
    differences = catalog.revision_differences(named.dataset, named.set_name, now, named.last_caption_id)
    if images is not None:
        differences = of_images(differences, images)
    if differences.height:
        rows = _revisions(catalog, named, differences)
        catalog.restore_captions(named.dataset, named.set_name, str(named), person or user_name(), rows)
    return RestoreResult(version=str(named), uncommitted=uncommitted, **counts(differences))


def counts(differences: pl.DataFrame) -> dict[str, int]:
    """How many captions were added, removed and changed (columns `before`, `after`)."""
    before, after = differences["before"].is_not_null(), differences["after"].is_not_null()
    return {
        "added": int((~before & after).sum()),
        "removed": int((before & ~after).sum()),
        "changed": int((before & after).sum()),
    }


def _set(reference: Reference) -> str:
    return f"{reference.dataset}/{reference.set_name}"


def _counts_of_now(catalog: Catalog, named: Reference, versions: list[dict[str, Any]]) -> tuple[int, int]:
    """Captions of a set, and those that differ from its latest version: only what came since has to be looked at."""
    if not versions:
        captions = caption_total(catalog, named)
        return captions, captions
    latest = versions[-1]
    changes = _changes_since(catalog, named, latest["last_caption_id"], named.last_caption_id)
    return latest["captions"] + changes["added"] - changes["removed"], sum(changes.values())


def _changes_since(catalog: Catalog, named: Reference, before: int, after: int) -> dict[str, int]:
    """How many captions of the set were added, removed and changed from a caption id to a later one."""
    return catalog.revision_counts(named.dataset, named.set_name, before, after)


def _commit_result(
    catalog: Catalog,
    named: Reference,
    number: int,
    digest: str,
    captions: int,
    message: str,
    changes: dict[str, int] | None,
) -> CommitResult:
    return CommitResult(
        version=f"{_set(named)}@{number}",
        digest=digest,
        captions=captions,
        without_image=catalog.captions_without_image(named.dataset, named.set_name, named.last_caption_id),
        unchanged=changes is None,
        message=message,
        **(changes or {"added": 0, "removed": 0, "changed": 0}),
    )


def _revisions(catalog: Catalog, named: Reference, differences: pl.DataFrame) -> pl.DataFrame:
    """The rows to append: what the version had, or for images it hadn't, the current revision without its text."""
    then = catalog.current_captions(named.dataset, named.set_name, named.last_caption_id)
    now = catalog.current_captions(named.dataset, named.set_name)
    put_back = then.join(differences.filter(pl.col("after").is_not_null()), on="image_sha256", how="semi")
    taken_out = now.join(differences.filter(pl.col("after").is_null()), on="image_sha256", how="semi")
    rows = pl.concat([put_back, taken_out.with_columns(text=pl.lit(None, pl.String))]).select(
        "image_sha256", "text", "inputs_digest", parent_id="caption_id", old_run_id="run_id"
    )
    new_runs = {run_id: catalog.reserve_caption_run() for run_id in rows["old_run_id"].unique(maintain_order=True)}
    return rows.with_columns(run_id=pl.col("old_run_id").replace_strict(new_runs, return_dtype=pl.Int64))
