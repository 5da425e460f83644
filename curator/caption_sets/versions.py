"""Commit, list and restore versions of caption sets. A version is immutable and has a digest."""

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
    number: int
    captions: int
    digest: str = Field(description="SHA-256 over canonical JSON of the sorted [image sha256, caption].")
    message: str
    person: str
    committed_at: str


class CommitResult(BaseModel):
    """The new version, or (`unchanged`) the latest one if there was nothing to commit."""

    version: str = Field(description="dataset/set@n: the new version; with `unchanged`, the latest.")
    digest: str
    captions: int = Field(description="All captions of the set, including those of missing images.")
    without_image: int = Field(description="Captions of images whose files are all gone.")
    unchanged: bool
    message: str
    added: int = Field(description="Compared with the previous version.")
    removed: int
    changed: int


class SetVersions(BaseModel):
    dataset: str
    set_name: str
    captions: int = Field(description="Current captions, including those of missing images.")
    uncommitted: int = Field(description="Captions that differ from the latest version.")
    versions: list[Version]


class VersionsResult(BaseModel):
    sets: list[SetVersions]


class RestoreResult(BaseModel):
    version: str
    added: int = Field(description="Captions restored for images without a caption.")
    removed: int = Field(description="Captions removed, because the version has none for the image.")
    changed: int
    uncommitted: int = Field(description="Captions of the set that were in no version; they stay in the history.")


def captions_digest(captions: pl.DataFrame) -> str:
    """Return the SHA-256 of the canonical JSON (RFC 8785) [[image sha256, caption], ...], sorted by image.

    Columns of `captions`: image_sha256, text. Polars writes text as canonical JSON, which a test checks.
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
    if not message.strip():
        raise BadOption("-m: describe this version in a few words.")
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
    only = resolve(catalog, reference) if reference else None
    sets = []
    for row in catalog.caption_sets().iter_rows(named=True):
        named = Reference.model_validate({**row, "number": None})
        if only and _set(only) != _set(named):
            continue
        rows = set_versions(catalog, named.dataset, named.set_name)
        captions, uncommitted = _current_counts(catalog, named, rows)
        sets.append(
            SetVersions(
                dataset=named.dataset,
                set_name=named.set_name,
                captions=captions,
                uncommitted=uncommitted,
                versions=[Version.model_validate(version) for version in rows],
            )
        )
    return VersionsResult(sets=sets)


def captions_now(catalog: Catalog, dataset: str) -> dict[str, int]:
    rows = catalog.caption_sets().filter(dataset=dataset).iter_rows(named=True)
    sets = [Reference.model_validate({**row, "number": None}) for row in rows]
    return {
        named.set_name: _current_counts(catalog, named, set_versions(catalog, dataset, named.set_name))[0]
        for named in sets
    }


def is_committed(catalog: Catalog, named: Reference) -> bool:
    rows = set_versions(catalog, named.dataset, named.set_name)
    return bool(rows) and not _current_counts(catalog, named, rows)[1]


def restore(
    catalog: Catalog, reference: str, person: str | None = None, images: list[str] | None = None
) -> RestoreResult:
    """Restore a set, or only the captions of `images`, to a version by adding revisions.

    The revisions keep their authors and strategies, so a person's caption stays a person's. Raises BadOption, NotFound.
    """
    named = resolve(catalog, reference)
    if named.number is None:
        raise BadOption(f"{reference}: name the version to restore, for example {_set(named)}@1.")
    now = resolve(catalog, _set(named)).last_caption_id
    committed = set_versions(catalog, named.dataset, named.set_name)[-1]["last_caption_id"]
    uncommitted = sum(_changes_since(catalog, named, committed, now).values())
    differences = catalog.revision_differences(named.dataset, named.set_name, now, named.last_caption_id)
    if images is not None:
        differences = of_images(differences, images)
    if differences.height:
        rows = _revisions(catalog, named, differences)
        catalog.restore_captions(named.dataset, named.set_name, str(named), person or user_name(), rows)
    return RestoreResult(version=str(named), uncommitted=uncommitted, **counts(differences))


def counts(differences: pl.DataFrame) -> dict[str, int]:
    before, after = differences["before"].is_not_null(), differences["after"].is_not_null()
    return {
        "added": int((~before & after).sum()),
        "removed": int((before & ~after).sum()),
        "changed": int((before & after).sum()),
    }


def _set(reference: Reference) -> str:
    return f"{reference.dataset}/{reference.set_name}"


def _current_counts(catalog: Catalog, named: Reference, versions: list[dict[str, Any]]) -> tuple[int, int]:
    """Return the captions of a set, and those that differ from its latest version, from newer revisions only."""
    if not versions:
        captions = caption_total(catalog, named)
        return captions, captions
    latest = versions[-1]
    changes = _changes_since(catalog, named, latest["last_caption_id"], named.last_caption_id)
    return latest["captions"] + changes["added"] - changes["removed"], sum(changes.values())


def _changes_since(catalog: Catalog, named: Reference, before: int, after: int) -> dict[str, int]:
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
    """Return the rows to append: the version's revisions, or for images it lacks the current ones without text."""
    version = catalog.current_captions(named.dataset, named.set_name, named.last_caption_id)
    current = catalog.current_captions(named.dataset, named.set_name)
    restored = version.join(differences.filter(pl.col("after").is_not_null()), on="image_sha256", how="semi")
    removed = current.join(differences.filter(pl.col("after").is_null()), on="image_sha256", how="semi")
    rows = pl.concat([restored, removed.with_columns(text=pl.lit(None, pl.String))]).select(
        "image_sha256", "text", "inputs_digest", parent_id="caption_id", old_run_id="run_id"
    )
    new_runs = {run_id: catalog.reserve_caption_run() for run_id in rows["old_run_id"].unique(maintain_order=True)}
    return rows.with_columns(run_id=pl.col("old_run_id").replace_strict(new_runs, return_dtype=pl.Int64))
