"""Write the files of a snapshot: images and metadata.jsonl of each split, samples.parquet. Format: schemas/spec/."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from curator.images.originals import Originals
from curator.snapshot.place import Method, place
from curator.snapshot.tracks import TrackSource
from schemas.digest import sha256_file
from schemas.document import FileRef
from schemas.progress import Progress

IMAGES_PER_TASK = 32
WORKERS = 4
ROWS_PER_GROUP = 65_536
"""Rows per row group of samples.parquet. Don't change it: equal content must give equal bytes."""

ESCAPED_LINE_ENDS = {ord(character): f"\\u{ord(character):04x}" for character in "\x85\u2028\u2029"}
"""Escapes for characters that some readers take for line ends."""

PROVENANCE = (
    "strategy", "strategy_version", "options", "model", "model_revision", "by_person", "person", "restored_from",
    "restored_by", "captioned_at", "inputs_digest",
)  # fmt: skip
FACTS = (
    "source_file_name", "size_bytes", "width_px", "height_px", "format", "has_alpha", "exif_orientation", "license",
    "source_url", "near_duplicate_of", "metadata",
)  # fmt: skip


def file_ref(folder: Path, path: str) -> FileRef:
    file = folder / path
    return FileRef(path=path, sha256=sha256_file(file), size_bytes=file.stat().st_size)


def write_images(
    folder: Path,
    table: pl.DataFrame,
    recorded: Mapping[str, Sequence[str]],
    originals: Originals,
    link: bool,
    progress: Progress,
) -> Counter[str]:
    """Write every image, in parallel; count them by method (copied, reflinked, linked).

    `recorded`: each image's paths. Raises like `place` and `Originals.fetch`.
    """

    def place_batch(rows: pl.DataFrame) -> list[Method]:
        methods = []
        for sha256, split, name in rows.iter_rows():
            originals.fetch(sha256)
            methods.append(place(sha256, originals.paths(sha256, recorded[sha256]), folder / split / name, link))
        return methods

    for split in table["split"].unique():
        (folder / split).mkdir()
    counts: Counter[str] = Counter()
    progress("writing images", 0, len(table))
    pool = ThreadPoolExecutor(WORKERS)
    try:
        for methods in pool.map(place_batch, table.select("sha256", "split", "file_name").iter_slices(IMAGES_PER_TASK)):
            counts.update(methods)
            progress("writing images", counts.total(), len(table))
    finally:
        pool.shutdown(cancel_futures=True)
    return counts


def write_metadata(folder: Path, table: pl.DataFrame, columns: Mapping[str, str]) -> None:
    """Write a split's metadata.jsonl, one line per image, sorted by sha256. `columns`: the column of each track."""
    captions = {column: f"caption.{track}" for track, column in columns.items()}
    names = ["file_name", *captions, "sha256", "size_bytes", "width_px", "height_px"]
    rows = table.select(captions.get(name, name) for name in names).iter_rows()
    with (folder / "metadata.jsonl").open("w", encoding="utf-8", newline="\n") as file:
        encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
        for row in rows:
            file.write(encode(dict(zip(names, row, strict=True))).translate(ESCAPED_LINE_ENDS) + "\n")


def write_samples(file: Path, table: pl.DataFrame, tracks: Sequence[TrackSource]) -> None:
    """Write samples.parquet. Equal content gives equal bytes."""
    path = (table["split"] + "/" + table["file_name"]).alias("path")
    facts = table.select("sha256", "split", path, *FACTS).to_arrow()
    pq.write_table(
        facts.append_column("captions", _captions(table, tracks)).combine_chunks(),
        file,
        row_group_size=ROWS_PER_GROUP,
        compression="zstd",
        compression_level=3,
        version="2.6",
        data_page_version="1.0",
        use_dictionary=True,
        write_statistics=True,
        store_schema=False,
    )


def _captions(table: pl.DataFrame, tracks: Sequence[TrackSource]) -> pa.LargeListArray:
    """Return each sample's captions, a struct per track. Polars needs ten times as long."""
    parts = []
    for track in tracks:
        provenance = track.captions.select("image_sha256", *PROVENANCE).rename({"image_sha256": "sha256"})
        captions = table.select("sha256", pl.col(f"caption.{track.name}").alias("text"))
        captions = captions.join(provenance, on="sha256", how="left", maintain_order="left")
        named = captions.select(
            pl.lit(track.name).alias("track"), pl.lit(track.version).alias("version"), "text", *PROVENANCE
        )
        parts.append(named.to_arrow().to_struct_array().combine_chunks())
    sample_by_sample = np.arange(len(table) * len(tracks)).reshape(len(tracks), len(table)).T.ravel()
    ends = np.arange(0, len(table) * len(tracks) + 1, len(tracks))
    return pa.LargeListArray.from_arrays(ends, pa.concat_arrays(parts).take(pa.array(sample_by_sample)))
