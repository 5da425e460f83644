"""List images on which people's captions differ, and settle them: one caption becomes the image's.

An image is settled by whatever a person writes into the set afterwards, here or by an edit; a later answer in Label
Studio opens it again. Only a caption that one of the people wrote is accepted here: any other text is an edit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import polars as pl
from pydantic import BaseModel, Field

from curator.caption_sets.revise import Overtaken, inputs_digest, write_lock
from curator.person import user_name
from curator.text.one_line import on_one_line
from curator.text.similarity import token_f1
from schemas.errors import BadOption, NotFound

if TYPE_CHECKING:
    from curator.catalog import Catalog

STRATEGY = "settle"
SHOWN = 60


class Said(BaseModel):
    """A person's last answer on the image."""

    person: str
    outcome: Literal["captioned", "rejected"]
    text: str | None
    counts: bool = Field(description="It is what the image has now.")
    project_key: str
    task_id: int
    updated_at: str


class Disagreement(BaseModel):
    """An image on which people's last answers differ."""

    image_sha256: str
    file_name: str | None
    caption_id: int | None = Field(description="Of what the image has now in the set: what to settle it with.")
    alike: float = Field(description="Token F1 of the captions, mean over pairs; 0 where one rejected the image.")
    said: list[Said]


def disagreements(catalog: Catalog, dataset: str, target_set: str) -> list[Disagreement]:
    """Return the disagreements in a set, the least alike first."""
    rows = catalog.annotation_disagreements(dataset, target_set)
    if rows.is_empty():
        return []
    names = dict(catalog.names_of_images(dataset, rows.select("image_sha256").unique()).iter_rows())
    alike = _alike(rows)
    found = [
        Disagreement(
            image_sha256=image,
            file_name=names.get(image),
            caption_id=said["now_caption_id"][0],
            alike=alike.get(image, 0.0),
            said=[Said(**row, counts=_counts(row)) for row in said.iter_rows(named=True)],
        )
        for (image,), said in rows.group_by("image_sha256", maintain_order=True)
    ]
    return sorted(found, key=lambda one: one.alike)


def settle(
    catalog: Catalog,
    dataset: str,
    target_set: str,
    image_sha256: str,
    text: str,
    expected: int | None,
    person: str | None = None,
) -> None:
    """Make one person's caption the image's, recorded under `person`.

    `expected`: the caption_id that the user saw. Raise BadOption if nobody wrote `text`, NotFound if there is nothing
    to settle, Overtaken if something changed meanwhile.
    """
    text = on_one_line(text)
    found = [one for one in disagreements(catalog, dataset, target_set) if one.image_sha256 == image_sha256]
    if not found:
        raise NotFound(f"{dataset}/{target_set}, image {image_sha256[:12]}: there is nothing to settle (any more).")
    if found[0].caption_id != expected:
        raise Overtaken
    _check_said(f"{dataset}/{target_set}", found[0], text)
    with write_lock:
        run_id = catalog.reserve_caption_run()
        row = {
            "image_sha256": image_sha256,
            "text": text,
            "inputs_digest": inputs_digest(STRATEGY, run_id, image_sha256),
            "parent_id": expected,
        }
        rows = pl.DataFrame([row], schema_overrides={"parent_id": pl.Int64})
        catalog.revise_captions(dataset, target_set, run_id, STRATEGY, {}, person or user_name(), rows)
        if not catalog.captions_of_run(dataset, target_set, run_id).height:
            raise Overtaken


def _check_said(target: str, found: Disagreement, text: str) -> None:
    """Raise BadOption, with the captions to choose from, if none of the people wrote the text."""
    choices: dict[str, list[str]] = {}
    for said in found.said:
        if said.text:
            choices.setdefault(on_one_line(said.text), []).append(said.person)
    if text not in choices:
        listed = ", or ".join(f'"{_short(choice)}" ({", ".join(people)})' for choice, people in choices.items())
        where = f"{target}, {found.file_name or found.image_sha256[:12]}"
        raise BadOption(
            f'{where}: nobody wrote "{_short(text)}" on it. Take {listed}; for a text of your own edit its caption.'
        )


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def _counts(row: dict[str, object]) -> bool:
    return row["outcome"] == "captioned" and row["text"] == row["now_text"]


def _alike(rows: pl.DataFrame) -> dict[str, float]:
    """Return the mean token F1 over the pairs of people, by image."""
    told = rows.select("image_sha256", "person", pl.col("text").fill_null(""))
    pairs = told.join(told, on="image_sha256", suffix="_other").filter(pl.col("person") < pl.col("person_other"))
    scored = pairs.with_columns(token_f1(pairs["text"], pairs["text_other"]).alias("alike"))
    return dict(scored.group_by("image_sha256").agg(pl.col("alike").mean()).iter_rows())
