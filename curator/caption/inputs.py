"""The columns that a strategy reads of each image, and the digest that shows when they have changed."""

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

# Fields of every image. A metadata field of the same name has priority.
BUILT_IN = ("file_name", "file_stem", "folder", "format", "width_px", "height_px")
# Prefix of the image's captions in other sets: `caption.SET`, `caption.SET@n`.
CAPTION = "caption."
# Columns that locate and identify the image. Metadata fields of these names can't be read.
IDENTITY = ("image_sha256", "image_path", "image_size_bytes")


def available_fields(metadata_fields: Sequence[str], caption_sets: Sequence[str] = ()) -> list[str]:
    """Return the fields that a strategy may read: metadata, built-in fields, captions of other sets."""
    names = dict.fromkeys([*metadata_fields, *BUILT_IN, *(CAPTION + name for name in caption_sets)])
    return [name for name in names if name not in IDENTITY]


def chosen_fields(captioner: Captioner, options: Any, available: list[str]) -> list[str]:
    """Return the fields that the strategy reads. Raises BadOption for one that no image has, listing all.

    Fields that begin with `caption.` are checked by `sources`.
    """
    chosen = captioner.fields(options, available)
    unknown = [name for name in chosen if name not in (*available, "file_names") and not name.startswith(CAPTION)]
    if unknown:
        raise BadOption(
            f"No image has a field {' or '.join(map(repr, unknown))}. Available fields: {', '.join(available)}."
        )
    return chosen


def sources(
    catalog: Catalog, dataset: str, set_name: str, fields: Sequence[str], metadata_fields: Sequence[str]
) -> dict[str, Reference]:
    """Resolve the fields `caption.SET` and `caption.SET@n` of a run into `set_name`.

    A metadata field of such a name has priority. Raises NotFound listing all sets, BadOption if the set would be
    composed of itself.
    """
    references = {}
    for field in fields:
        if not field.startswith(CAPTION) or field in metadata_fields:
            continue
        name = field.removeprefix(CAPTION)
        if name == set_name:
            raise BadOption(f"{dataset}/{name} can't be composed of its current self. Name another set, or a version.")
        references[field] = resolve(catalog, f"{dataset}/{name}")
    current = [reference.set_name for reference in references.values() if not reference.number]
    _check_for_cycle(catalog, dataset, set_name, current)
    return references


def _check_for_cycle(catalog: Catalog, dataset: str, set_name: str, sets: Sequence[str]) -> None:
    """Raise BadOption if one of the current `sets` depends on `set_name`, so that each run would change the next."""
    if not sets:
        return
    sources_of: dict[str, list[str]] = {}
    for name, source in catalog.sources_of_sets(dataset).iter_rows():
        sources_of.setdefault(name, []).append(source)
    paths = [[name] for name in sets]
    visited: set[str] = set()
    while paths:
        path = paths.pop()
        if path[-1] == set_name:
            raise BadOption(
                f"{dataset}/{set_name} would be composed of itself ({' from '.join([set_name, *path])}). "
                f"Name a version, such as {path[0]}@1 (curator commit makes one)."
            )
        if path[-1] not in visited:
            visited.add(path[-1])
            paths += [[*path, source] for source in sources_of.get(path[-1], [])]


def image_inputs(
    catalog: Catalog,
    dataset: str,
    fields: Sequence[str],
    metadata_fields: Sequence[str],
    captions: Mapping[str, Reference] | None = None,
    original_paths: bool = False,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the images (`image_sha256`, `file_name`) and, row by row, a strategy's inputs: identity and `fields`.

    `image_path` is the local path, also of an image still to be fetched (curator.images.originals); with
    `original_paths`, the path at ingest. `captions`: the reference of each `caption.` field, which is null if the image
    has no caption there.
    """
    in_metadata = [name for name in fields if name in metadata_fields]
    images = catalog.images_to_caption(dataset, [pointer(name) for name in in_metadata])
    columns = {name: _metadata_column(images, index) for index, name in enumerate(in_metadata)}
    for name, reference in (captions or {}).items():
        texts = catalog.caption_texts(dataset, reference.set_name, reference.last_caption_id)
        columns[name] = images.join(texts, on="image_sha256", how="left", maintain_order="left")["text"]
    if "file_names" in fields:
        names = catalog.file_names_of_images(dataset)
        images = images.join(names, on="image_sha256", how="left", maintain_order="left")
    file = pl.col("file_name").str
    paths = _original_paths(catalog, images["path"]) if original_paths else Originals(catalog).paths_of(images)
    facts = images.with_columns(
        pl.col("width_px", "height_px").cast(pl.String),
        image_path=pl.Series(paths),
        image_size_bytes=pl.col("size_bytes"),
        file_stem=file.extract(r"([^/]*?)(?:\.[^./]*)?$"),
        folder=file.extract(r"([^/]+)/[^/]*$"),
    )
    named = {name: columns[name] if name in columns else facts[name] for name in (*IDENTITY, *fields)}
    inputs = pl.DataFrame([column.alias(name) for name, column in named.items()])
    return images.select("image_sha256", "file_name"), inputs


def _original_paths(catalog: Catalog, paths: pl.Series) -> pl.Series:
    """Return the local paths at ingest. Raises BadOption if images, and the files beside them, are elsewhere."""
    naming = names(catalog)
    others = [path for path in paths if not naming.is_here(path)]
    if others:
        raise BadOption(
            f"The files beside {len(others):,} images aren't on this machine ({others[0]}, ...). Run it there; or, "
            "for text files read by the ingest: --strategy column -o column=sidecar"
        )
    return paths.map_elements(naming.here, return_dtype=paths.dtype) if naming.machine else paths


def inputs_digests(
    captioner: Captioner, options: Any, model: Model | None, by: str | None, inputs: pl.DataFrame
) -> pl.Series:
    """Return a hex SHA-256 for each image, over strategy, version, options, model, person and the image's inputs.

    It is sha256(fingerprint + {"field":value} of each field that isn't null, sorted by name). The fingerprint is the
    sha256 of all but the inputs as canonical JSON.
    """
    fingerprint = sha256_json(
        {
            "strategy": captioner.name,
            "version": captioner.version,
            "options": captioner.output_options(options),
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
    """Return the JSON pointer of a metadata field (RFC 6901)."""
    return "/" + name.replace("~", "~0").replace("/", "~1")


def _metadata_column(images: pl.DataFrame, index: int) -> pl.Series:
    """Return a field as text, or as lists of text if any image has a list."""
    values = images["metadata_values"].list.get(index)
    are_lists = (images["metadata_types"].list.get(index) == "ARRAY").fill_null(False)
    if not are_lists.any():
        return values
    one = pl.DataFrame({"value": values}).select(pl.concat_list("value")).to_series()
    lists = pl.Series([_items(value) for value in values.filter(are_lists)], dtype=pl.List(pl.String))
    rows = pl.DataFrame({"row": are_lists.arg_true(), "list": lists})
    frame = pl.DataFrame({"one": one, "value": values}).with_row_index("row").join(rows, on="row", how="left")
    text = pl.when(pl.col("value").is_not_null()).then(pl.col("one"))
    return frame.sort("row").select(pl.coalesce("list", text)).to_series()


def _items(text: str) -> list[str]:
    return [item if isinstance(item, str) else json.dumps(item) for item in json.loads(text) if item is not None]
