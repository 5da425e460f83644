"""Differences between two states of caption sets, caption by caption and word by word."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Literal

import polars as pl
from pydantic import BaseModel, Field
from rapidfuzz.distance import Indel

from curator.caption_sets.reference import Reference, resolve, set_versions
from curator.caption_sets.totals import caption_total
from curator.caption_sets.versions import counts
from curator.catalog import Catalog
from schemas.errors import BadOption

LIMIT = 20
WORD = re.compile(r"\w+(?:['’-]\w+)*|\s+|[^\w\s]")
MAX_PAIRS = 400_000  # of words for difflib; about 300 words on each side
Kind = Literal["changed", "added", "removed"]


class WordOperation(BaseModel):
    """A piece of a change. Equal and delete pieces form the old caption, equal and insert pieces the new one."""

    op: Literal["equal", "delete", "insert"]
    text: str


class Change(BaseModel):
    kind: Kind
    image_sha256: str
    file_name: str | None
    before: str | None
    after: str | None
    words: list[WordOperation]


class DiffResult(BaseModel):
    before: str
    after: str
    added: int
    removed: int
    changed: int
    unchanged: int
    changes: list[Change]
    left_off: int = Field(description="Changes not listed.")


def diff(catalog: Catalog, before: str, after: str | None = None, limit: int = LIMIT) -> DiffResult:
    """Compare two versions or current sets. Raises BadOption, NotFound as `resolve` does.

    Without `after`, compare a version with its current set, or a set's latest version with the current set.
    """
    first, second = _sides(catalog, before, after)
    sides = [(side.dataset, side.set_name, side.last_caption_id) for side in (first, second)]
    if sides[0][:2] == sides[1][:2]:
        differences = catalog.revision_differences(*sides[0], second.last_caption_id)
    else:
        differences = catalog.caption_differences(*sides[0], *sides[1])
    number = counts(differences)
    changes = _changes(catalog, differences, limit, (first.dataset, second.dataset))
    return DiffResult(
        before=str(first),
        after=str(second),
        **number,
        unchanged=caption_total(catalog, first) - number["removed"] - number["changed"],
        changes=changes,
        left_off=differences.height - len(changes),
    )


def word_operations(before: str, after: str) -> list[WordOperation]:
    """Return the operations between two captions, in words, blanks and punctuation (Ratcliff and Obershelp's matching).

    That takes quadratic time, so long captions use a bit-parallel longest common subsequence: milliseconds instead of
    seconds. Blanks between two changes count as changed, for legibility.
    """
    old, new = WORD.findall(before), WORD.findall(after)
    codes = _codes(old, new)
    operations: list[WordOperation] = []
    deleted = inserted = ""
    for index, (op, i, j, k, m) in enumerate(codes):
        left, right = "".join(old[i:j]), "".join(new[k:m])
        if op != "equal" or (not left.strip() and 0 < index < len(codes) - 1):
            deleted, inserted = deleted + left, inserted + right
            continue
        operations += [*_edit(deleted, inserted), WordOperation(op="equal", text=left)]
        deleted = inserted = ""
    return [*operations, *_edit(deleted, inserted)]


def _codes(old: list[str], new: list[str]) -> Sequence[tuple[str, int, int, int, int]]:
    """Return opcodes as difflib does: (operation, old start, old end, new start, new end)."""
    if len(old) * len(new) <= MAX_PAIRS:
        return difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    return [(one.tag, one.src_start, one.src_end, one.dest_start, one.dest_end) for one in Indel.opcodes(old, new)]


def _edit(deleted: str, inserted: str) -> list[WordOperation]:
    edit = [WordOperation(op="delete", text=deleted), WordOperation(op="insert", text=inserted)]
    return [operation for operation in edit if operation.text]


def _sides(catalog: Catalog, before: str, after: str | None) -> tuple[Reference, Reference]:
    first = resolve(catalog, before)
    if after is not None:
        return first, resolve(catalog, after)
    name = f"{first.dataset}/{first.set_name}"
    if first.number is not None:
        return first, resolve(catalog, name)
    versions = set_versions(catalog, first.dataset, first.set_name)
    if not versions:
        raise BadOption(f'{name} has no version to compare with yet. Make one with: curator commit {name} -m "draft"')
    return resolve(catalog, f"{name}@{versions[-1]['number']}"), first


def _changes(catalog: Catalog, differences: pl.DataFrame, limit: int, datasets: tuple[str, str]) -> list[Change]:
    before, after = pl.col("before"), pl.col("after")
    kind = pl.when(before.is_null()).then(pl.lit("added")).when(after.is_null()).then(pl.lit("removed"))
    kinds = differences.with_columns(kind=kind.otherwise(pl.lit("changed")))
    listed = pl.concat([kinds.filter(pl.col("kind") == name) for name in ("changed", "added", "removed")]).head(limit)
    names: dict[str, str] = {}
    for dataset in datasets:
        names |= dict(catalog.names_of_images(dataset, listed.select("image_sha256")).iter_rows())
    return [
        Change(
            **row,
            file_name=names.get(row["image_sha256"]),
            words=word_operations(row["before"] or "", row["after"] or ""),
        )
        for row in listed.iter_rows(named=True)
    ]
