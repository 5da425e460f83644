"""What a strategy is given of each image, and the digest that tells when it has to be captioned again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from curator.caption_sets.reference import Reference, resolve
from curator.captioners import Captioner, Model
from curator.catalog import Catalog
from curator.images.locations import names
from curator.images.originals import Originals
from schemas.digest import sha256_json
from schemas.errors import BadOption

# What every image has, whatever its metadata; a metadata field of the same name goes before it.
BUILT_IN = ("file_name", "file_stem", "folder", "format", "width_px", "height_px")
# What the image's captions in other sets are called: `caption.SET`, `caption.SET@n`.
CAPTION = "caption."
# How a strategy finds the picture, and knows it again. Metadata fields of these names can't be reached.
IDENTITY = ("image_sha256", "image_path", "image_size_bytes")


def available_fields(metadata_fields: Sequence[str], caption_sets: Sequence[str] = ()) -> list[str]:
    """The fields a strategy may read of a dataset's images: their metadata's, the built-in ones, its captions'."""
    named = dict.fromkeys([*metadata_fields, *BUILT_IN, *(CAPTION + name for name in caption_sets)])
    return [name for name in named if name not in IDENTITY]


def chosen_fields(captioner: Captioner, options: Any, available: list[str]) -> list[str]:
    """The fields the strategy asks for. Raises BadOption for one that no image has, listing those there are.

    Names that begin with `caption.` may be of any set; `sources` finds them.
    """
    wanted = captioner.fields(options, available)
    unknown = [name for name in wanted if name not in (*available, "file_names") and not name.startswith(CAPTION)]
    if unknown:
        raise BadOption(
            f"No image has a field {' or '.join(map(repr, unknown))}. The fields there are: {', '.join(available)}."
        )
    return wanted


def sources(
    catalog: Catalog, dataset: str, set_name: str, fields: Sequence[str], metadata_fields: Sequence[str]
) -> dict[str, Reference]:
    """The sets and versions that the fields `caption.SET` and `caption.SET@n` name, for captions into `set_name`.

    A metadata field of such a name goes before it. Raises NotFound listing the sets there are, BadOption where a set
    would be made of itself.
    """
    found = {}
    for field in fields:
        if not field.startswith(CAPTION) or field in metadata_fields:
            continue
        name = field.removeprefix(CAPTION)
        if name == set_name:
            raise BadOption(f"{dataset}/{name} can't be made of itself as it is now. Name another set, or a version.")
        found[field] = resolve(catalog, f"{dataset}/{name}")
    _check_for_circles(catalog, dataset, set_name, [named.set_name for named in found.values() if not named.number])
    return found


def _check_for_circles(catalog: Catalog, dataset: str, set_name: str, sets: Sequence[str]) -> None:
    """Raises BadOption where one of `sets`, as it is now, is made of `set_name`: each run would change the next."""
    if not sets:
        return
    made_of: dict[str, list[str]] = {}
    for name, source in catalog.sources_of_sets(dataset).iter_rows():
        made_of.setdefault(name, []).append(source)
    ways = [[name] for name in sets]
    seen: set[str] = set()
    while ways:
        way = ways.pop()
        if way[-1] == set_name:
            raise BadOption(
                f"{dataset}/{set_name} would be made of itself ({' from '.join([set_name, *way])}). "
                f"Name a version, such as {way[0]}@1 (curator commit makes one)."
            )
        if way[-1] not in seen:
            seen.add(way[-1])
            ways += [[*way, source] for source in made_of.get(way[-1], [])]


def image_inputs(
    catalog: Catalog,
    dataset: str,
    fields: Sequence[str],
    metadata_fields: Sequence[str],
    captions: Mapping[str, Reference] | None = None,
    beside: bool = False,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The images (`image_sha256`, `file_name`) and, row by row, what a strategy gets of them: identity and `fields`.

    `image_path` is where the picture is here, or will be once fetched (curator.images.originals); with `beside`, where
    it lay when it was ingested, for what lies beside it. `captions` says which state of which set each `caption.` field
    is; null where an image has no caption there.
    """
    in_metadata = [name for name in fields if name in metadata_fields]
    images = catalog.images_to_caption(dataset, [pointer(name) for name in in_metadata])
    columns = {name: _metadata_column(images, place) for place, name in enumerate(in_metadata)}
    for name, reference in (captions or {}).items():
        texts = catalog.caption_texts(dataset, reference.set_name, reference.last_caption_id)
        columns[name] = images.join(texts, on="image_sha256", how="left", maintain_order="left")["text"]
    if "file_names" in fields:
        names = catalog.file_names_of_images(dataset)
        images = images.join(names, on="image_sha256", how="left", maintain_order="left")
    file = pl.col("file_name").str
    facts = images.with_columns(
        pl.col("width_px", "height_px").cast(pl.String),
        image_path=pl.Series(_beside(catalog, images["path"]) if beside else Originals(catalog).paths_of(images)),
        image_size_bytes=pl.col("size_bytes"),
        file_stem=file.extract(r"([^/]*?)(?:\.[^./]*)?$"),
        folder=file.extract(r"([^/]+)/[^/]*$"),
    )
    named = {name: columns[name] if name in columns else facts[name] for name in (*IDENTITY, *fields)}
    inputs = pl.DataFrame([column.alias(name) for name, column in named.items()])
    return images.select("image_sha256", "file_name"), inputs


def _beside(catalog: Catalog, paths: pl.Series) -> pl.Series:
    """Paths of this machine. Raises BadOption where pictures, and so what lies beside them, are on another one."""
    naming = names(catalog)
    others = [path for path in paths if not naming.is_here(path)]
    if others:
        raise BadOption(
            f"The files beside {len(others):,} pictures aren't on this machine ({others[0]}, ...). Run it there; or, "
            "for texts that were there when the pictures were ingested: --strategy column -o column=sidecar"
        )
    return paths.map_elements(naming.here, return_dtype=paths.dtype) if naming.machine else paths


def inputs_digests(
    captioner: Captioner, options: Any, model: Model | None, by: str | None, inputs: pl.DataFrame
) -> pl.Series:
    """Hex SHA-256 an image: over what made the caption (strategy, version, options, model, whose) and `inputs`.

    Each is sha256(fingerprint + {"field":value} of each field the image has, by name); the fingerprint is the sha256 of
    canonical JSON. A field that only other images have changes nothing.
    """
    fingerprint = sha256_json(
        {
            "strategy": captioner.name,
            "version": captioner.version,
            "options": captioner.written_by(options),
            "model": model.model_dump() if model else None,
            "by": by,
        }
    )
    start = fingerprint.encode()
    if not inputs.width:
        return pl.Series("digest", [hashlib.sha256(start).hexdigest()]).new_from_index(0, inputs.height)
    fields = [
        pl.when(pl.col(name).is_not_null()).then(pl.struct(name).struct.json_encode())
        for name in sorted(inputs.columns)
    ]
    rows = inputs.select(pl.concat_str(fields, ignore_nulls=True)).to_series().to_list()
    return pl.Series("digest", [hashlib.sha256(start + row.encode()).hexdigest() for row in rows], dtype=pl.String)


def pointer(name: str) -> str:
    """A metadata field's place in the JSON (RFC 6901)."""
    return "/" + name.replace("~", "~0").replace("/", "~1")


def _metadata_column(images: pl.DataFrame, place: int) -> pl.Series:
    """Text; or lists of text where any image has a list."""
    values = images["metadata_values"].list.get(place)
    are_lists = (images["metadata_types"].list.get(place) == "ARRAY").fill_null(False)
    if not are_lists.any():
        return values
    one = pl.DataFrame({"value": values}).select(pl.concat_list("value")).to_series()
    lists = pl.Series([_items(value) for value in values.filter(are_lists)], dtype=pl.List(pl.String))
    rows = pl.DataFrame({"row": are_lists.arg_true(), "list": lists})
    frame = pl.DataFrame({"one": one, "value": values}).with_row_index("row").join(rows, on="row", how="left")
    text = pl.when(pl.col("value").is_not_null()).then(pl.col("one"))
    return frame.sort("row").select(pl.coalesce("list", text)).to_series()


def _items(text: str) -> list[str]:
    """The items of a JSON array as text; null items are left out."""
    return [item if isinstance(item, str) else json.dumps(item) for item in json.loads(text) if item is not None]
