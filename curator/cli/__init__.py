"""The `curator` command: one command per stage. Each parses, calls the stage function and shows its result."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from curator.cli.annotate import annotate
from curator.cli.captions import COMMANDS as CAPTION_COMMANDS
from curator.cli.moved import moved
from curator.cli.options import on_catalog, person_option
from curator.cli.quality import COMMANDS as TRUST_COMMANDS
from curator.cli.service import COMMANDS as SERVICE_COMMANDS
from schemas import __version__
from schemas.edge import Program, progress_bar, show


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="curator")
def main() -> None:
    """Index images, caption them with strategies, commit versions, export snapshots for training."""


@main.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@on_catalog
def init(file: Path | None, catalog: Path, as_json: bool) -> None:
    """Create an empty catalog at FILE, or at the path of --catalog.

    An existing catalog is not changed.

    \b
    Example:
      curator init lab.duckdb
      export CURATOR_CATALOG=lab.duckdb
    """
    from curator import init as stage

    show(stage.init(file or catalog), as_json, stage.account)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--dataset", required=True, metavar="NAME", help="A name for these images.")
@click.option(
    "--metadata", type=click.Path(path_type=Path), help="A table about the images: CSV, TSV, JSON(L), Parquet."
)
@click.option("--join-on", metavar="COLUMN", help="The table's column that names the images.  [default: file_name]")
@click.option("--max-pixels", type=int, metavar="N", help="Reject larger images.  [default: 150000000]")
@click.option("--threads", type=click.IntRange(1), metavar="N", help="Images to read at once.  [default: one per core]")
@click.option("--strict", is_flag=True, help="Exit with 1 if there are rejects.")
@person_option
@on_catalog
def ingest(
    folder: Path,
    dataset: str,
    metadata: Path | None,
    join_on: str | None,
    max_pixels: int | None,
    threads: int | None,
    strict: bool,
    person: str | None,
    catalog: Path,
    as_json: bool,
) -> None:
    """Index the images in FOLDER and its subfolders. No file is changed.

    Reads PNG, JPEG, WebP, GIF (first frame), BMP and TIFF, recognised by content, not by suffix. Metadata comes from
    imagefolder tables (metadata.jsonl, .csv, .parquet), text files beside the images (fox.txt for fox.png) and
    --metadata. Unusable files are rejects with a reason: see `curator rejects`. A second run reads only what changed.
    Near-duplicates are grouped with the first one seen: at most 2 of the 64 bits of their perceptual hashes differ.
    With --server, images that the service doesn't have are sent to it.

    \b
    Example:
      curator ingest photos --dataset zoo
      curator ingest images --dataset openmoji --metadata openmoji.csv --join-on hexcode

    A value of COLUMN names an image by its path in FOLDER or by its file name, each with or without suffix.
    """
    from curator import ingest as stage
    from curator.catalog import Catalog
    from curator.cli.text.ingest import is_next_to_caption, text_of_ingest
    from curator.person import user_name

    with Catalog(catalog) as opened, progress_bar(as_json) as progress:
        result = stage.ingest(
            opened,
            folder,
            dataset,
            metadata=metadata,
            join_on=join_on,
            max_pixels=stage.DEFAULT_MAX_PIXELS if max_pixels is None else max_pixels,
            person=person or user_name(),
            threads=threads,
            progress=progress,
        )
        fields = [] if as_json or not is_next_to_caption(result) else opened.metadata_fields(dataset)
    show(result, as_json, lambda found: text_of_ingest(found, fields))
    if strict and result.rejects:
        sys.exit(1)


@main.command()
@click.argument("dataset", required=False)
@click.option("--reason", metavar="REASON", help="Only this reason: truncated, row-without-image, ...")
@click.option(
    "--limit", type=click.IntRange(0), default=20, show_default=True, help="Rejects to show per reason; 0: all."
)
@on_catalog
def rejects(dataset: str | None, reason: str | None, limit: int, catalog: Path, as_json: bool) -> None:
    """List the files that ingest couldn't use, in DATASET or in all datasets, with the reasons.

    \b
    Example:
      curator rejects openmoji
      curator rejects --reason truncated --json
    """
    from curator.catalog import Catalog
    from curator.datasets import rejected as stage

    with Catalog(catalog) as opened:
        result = stage.rejects(opened, dataset, reason)
    show(result, as_json, lambda rejected: stage.account(rejected, limit))


main.add_command(moved)


@main.command()
@on_catalog
def doctor(catalog: Path, as_json: bool) -> None:
    """Check the catalog against the disk, and show how to fix each finding.

    Exit code 1 for missing or changed files, interrupted ingests, and versions with a wrong digest. Rejects, images
    without a caption, near-duplicates and uncommitted captions are only listed: exit code 0.

    \b
    Example:
      curator doctor --catalog lab.duckdb
    """
    from curator.catalog import Catalog
    from curator.datasets import doctor as stage

    with Catalog(catalog) as opened, progress_bar(as_json) as progress:
        result = stage.doctor(opened, progress)
    show(result, as_json, stage.account)
    if not result.healthy:
        sys.exit(1)


for command in (*CAPTION_COMMANDS, *TRUST_COMMANDS):
    main.add_command(command)

main.add_command(annotate)


@main.command()
@click.argument("versions", nargs=-1, required=True, metavar="SET@N...")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The folder to write; never overwritten.")
@click.option("--where", metavar="EXPRESSION", help="Only images that match this expression.")
@click.option("--holdout", type=int, metavar="N", help="Hold out N images for validation.")
@click.option("--holdout-fraction", type=float, metavar="F", help="Hold out this share of the images.  [default: 0.1]")
@click.option("--holdout-where", metavar="EXPRESSION", help="Hold out images that match this expression.")
@click.option("--holdout-trained", is_flag=True, help="Also hold out images that earlier snapshots trained on.")
@click.option("--keep-missing", is_flag=True, help="Include images without a caption in some version.")
@click.option("--keep-rejected", is_flag=True, help="Include images that a person rejected in Label Studio.")
@click.option("--link", is_flag=True, help="Hard-link images: takes no space, but an edit in place changes both files.")
@click.option("--dry-run", is_flag=True, help="Show the split and what is left out; write nothing.")
@person_option
@on_catalog
def snapshot(
    versions: tuple[str, ...],
    out: Path,
    where: str | None,
    holdout: int | None,
    holdout_fraction: float | None,
    holdout_where: str | None,
    holdout_trained: bool,
    keep_missing: bool,
    keep_rejected: bool,
    link: bool,
    dry_run: bool,
    person: str | None,
    catalog: Path,
    as_json: bool,
) -> None:
    """Export committed versions and their images to a folder for training.

    Each version becomes a caption track over the same images; the first is named `text`. The split is stored in the
    catalog: near-duplicates stay together, held-out images stay held out, and its hash decides the split of a new
    image. If the folder already holds this snapshot, nothing is written.

    \b
    Example:
      curator snapshot human@1 template@1 --out snapshots/all --holdout 40 --dry-run
      curator snapshot human@1 --out snapshots/cc0 --where "license = 'CC0' and width_px >= 512"

    \b
    EXPRESSION:
      columns     sha256 file_name width_px height_px size_bytes format has_alpha exif_orientation license source_url
                  split near_duplicate_of, caption.SET of the versions given, and every metadata field
      operators   = != < <= > >=  in ('a', 'b')  like '%a_'  ilike  contains  is null  and or not ( )
    """
    from curator import snapshot as stage
    from curator.catalog import Catalog
    from curator.cli.text.snapshot import text_of_preview, text_of_snapshot
    from curator.person import user_name

    rule = stage.Holdout(holdout, holdout_fraction, holdout_where, holdout_trained)
    with Catalog(catalog) as opened, progress_bar(as_json) as progress:
        if dry_run:
            preview = stage.preview(opened, versions, out, where, rule, keep_missing, keep_rejected, progress)
            show(preview, as_json, lambda result: text_of_preview(result, out))
            return
        result = stage.snapshot(
            opened,
            versions,
            out,
            where,
            rule,
            keep_missing,
            link,
            person or user_name(),
            progress,
            keep_rejected=keep_rejected,
        )
    show(result, as_json, text_of_snapshot)


for command in SERVICE_COMMANDS:
    main.add_command(command)


if __name__ == "__main__":
    main()
