"""Find and replace over a caption set, as one run of a person, with preview and undo."""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import nullcontext

import polars as pl
from pydantic import BaseModel, Field

from curator.caption_sets.diff import Change, word_operations
from curator.caption_sets.reference import Reference, resolve
from curator.caption_sets.revise import LONGEST, UndoResult, undo_last, write_lock, write_revisions
from curator.catalog import Catalog
from curator.person import user_name
from curator.text.one_line import text_on_one_line
from curator.where import images_where, of_images
from schemas.errors import BadOption

STRATEGY = "replace"
LIMIT = 20


class ReplaceResult(BaseModel):
    """The captions that were, or in a dry run would be, changed. Counts are complete; `changes` has `--limit` rows."""

    reference: str
    find: str
    replacement: str
    regex: bool
    dry_run: bool
    captions: int = Field(description="Captions searched.")
    changed: int
    overtaken: int = Field(description="Captions that somebody else changed meanwhile; they stay.")
    run_id: int | None = Field(description="The run to undo; null if nothing was written.")
    changes: list[Change]
    left_off: int = Field(description="Changes not listed.")


def replace(
    catalog: Catalog,
    reference: str,
    find: str,
    replacement: str,
    regex: bool = False,
    ignore_case: bool = False,
    where: str | None = None,
    dry_run: bool = False,
    person: str | None = None,
    limit: int = LIMIT,
    images: Collection[str] | None = None,
) -> ReplaceResult:
    """Replace text in a set's captions, for `images` (None: all). The person becomes the author.

    `regex`: `find` is a regular expression without look-around and back-references (linear time); `$1`, `${name}` in
    the replacement are its groups. Raises NotFound, BadOption, BadExpression.
    """
    if not find:
        raise BadOption("--find: give the text to find.")
    named = resolve(catalog, reference)
    if named.number is not None:
        raise BadOption(f"{reference}: a version never changes; name the set alone: {named.dataset}/{named.set_name}.")
    with nullcontext() if dry_run else write_lock:
        captions = _captions(catalog, named, where, images)
        after = _replaced(captions["text"], find, replacement, regex, ignore_case)
        rows = captions.with_columns(after.alias("after")).filter(pl.col("after") != pl.col("text"))
        _check_lengths(rows["after"])
        run_id, overtaken = None, 0
        if rows.height and not dry_run:
            options = {"find": find, "replacement": replacement, "regex": regex, "ignore_case": ignore_case}
            revisions = rows.select("image_sha256", text="after", parent_id="caption_id")
            run_id = write_revisions(catalog, named, STRATEGY, options, person or user_name(), revisions)
            overtaken = rows.height - catalog.captions_of_run(named.dataset, named.set_name, run_id).height
    return ReplaceResult(
        reference=str(named),
        find=find,
        replacement=replacement,
        regex=regex,
        dry_run=dry_run,
        captions=captions.height,
        changed=rows.height - overtaken,
        overtaken=overtaken,
        run_id=run_id,
        changes=_changes(catalog, named.dataset, rows.head(limit)),
        left_off=max(0, rows.height - limit),
    )


def undo_replace(catalog: Catalog, reference: str, run_id: int | None, person: str | None = None) -> UndoResult:
    """Undo a run of `replace`; None: the set's last one with captions still current. Raises NotFound, BadOption."""
    return undo_last(catalog, reference, STRATEGY, run_id, person)


def _captions(catalog: Catalog, named: Reference, where: str | None, images: Collection[str] | None) -> pl.DataFrame:
    captions = catalog.caption_texts(named.dataset, named.set_name)
    if images is not None:
        captions = of_images(captions, images)
    if where is None:
        return captions
    return captions.filter(captions["image_sha256"].is_in(images_where(catalog, named.dataset, where).implode()))


def _replaced(text: pl.Series, find: str, replacement: str, regex: bool, ignore_case: bool) -> pl.Series:
    pattern = find if regex else re.escape(find)
    value = replacement if regex else replacement.replace("$", "$$")
    if ignore_case:
        pattern = f"(?i){pattern}"
    try:
        new = text.str.replace_all(pattern, value)
    except pl.exceptions.PolarsError as error:
        reason = " ".join(line.strip() for line in str(error).splitlines() if "error:" in line) or "it can't be read"
        raise BadOption(f"--find {find!r}: not a supported regular expression ({reason}).") from error
    return new.to_frame("text").select(text_on_one_line()).to_series()


def _check_lengths(texts: pl.Series) -> None:
    longest = texts.str.len_chars().max()
    if isinstance(longest, int) and longest > LONGEST:
        raise BadOption(f"--with: a caption would have {longest:,} characters; the limit is {LONGEST:,}.")


def _changes(catalog: Catalog, dataset: str, rows: pl.DataFrame) -> list[Change]:
    names = dict(catalog.names_of_images(dataset, rows.select("image_sha256")).iter_rows())
    return [
        Change(
            kind="changed",
            image_sha256=row["image_sha256"],
            file_name=names.get(row["image_sha256"]),
            before=row["text"],
            after=row["after"],
            words=word_operations(row["text"], row["after"]),
        )
        for row in rows.iter_rows(named=True)
    ]
