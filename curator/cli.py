"""The `curator` command: one command a stage. It parses, calls the stage function, shows its result; no logic here."""

from __future__ import annotations

import os
from pathlib import Path

import click

from schemas import __version__
from schemas.edge import Program, catch_errors, json_option, progress_bar, show

catalog_option = click.option(
    "--catalog",
    type=click.Path(path_type=Path),
    default=lambda: Path(os.environ.get("CURATOR_CATALOG") or "amatl.duckdb"),
    show_default="$CURATOR_CATALOG, else ./amatl.duckdb",
    help="The catalog file.",
)
person_option = click.option("--as", "person", default=None, help="Who is doing this. [default: your user name]")


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="curator")
def main() -> None:
    """Index images, caption them by strategy, commit versions, export snapshots for training."""


@main.command()
@click.argument("versions", nargs=-1, required=True, metavar="SET@N...")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The folder to make; never overwritten.")
@click.option("--where", metavar="EXPRESSION", help="Only the images that this holds for.")
@click.option("--holdout", type=int, metavar="N", help="Hold out N images for validation.")
@click.option("--holdout-fraction", type=float, metavar="F", help="Hold out this share of them.  [default: 0.1]")
@click.option("--holdout-where", metavar="EXPRESSION", help="Hold out the images that this holds for.")
@click.option("--holdout-trained", is_flag=True, help="Hold out what earlier snapshots trained on, too.")
@click.option("--keep-missing", is_flag=True, help="Keep images that a version has no caption of.")
@click.option("--link", is_flag=True, help="Hard-link images: no space, but an edit in place changes both.")
@person_option
@catalog_option
@json_option
@catch_errors
def snapshot(
    versions: tuple[str, ...],
    out: Path,
    where: str | None,
    holdout: int | None,
    holdout_fraction: float | None,
    holdout_where: str | None,
    holdout_trained: bool,
    keep_missing: bool,
    link: bool,
    person: str | None,
    catalog: Path,
    as_json: bool,
) -> None:
    """Export committed versions and their images as a folder to train on.

    Each version becomes a caption track over the same images; the first is what trainers call `text`. The split is
    stored in the catalog: near-duplicates stay together, what was held out once stays so, new images join by lot.
    Where the folder holds this very snapshot already, nothing happens.

    \b
    Example:
      curator snapshot human@1 template@1 --out snapshots/all --holdout 40
      curator snapshot human@1 --out snapshots/cc0 --where "license = 'CC0' and width_px >= 512"

    \b
    EXPRESSION:
      columns     sha256 file_name width_px height_px size_bytes format has_alpha exif_orientation license source_url
                  split near_duplicate_of, caption.SET of the versions given, and every metadata field
      operators   = != < <= > >=  in ('a', 'b')  like '%a_'  ilike  contains  is null  and or not ( )
    """
    from curator import snapshot as stage
    from curator.catalog import Catalog
    from curator.person import user_name
    from curator.snapshot.show import account

    rule = stage.Holdout(holdout, holdout_fraction, holdout_where, holdout_trained)
    with Catalog(catalog) as opened, progress_bar(as_json) as progress:
        result = stage.snapshot(opened, versions, out, where, rule, keep_missing, link, person or user_name(), progress)
    show(result, as_json, account)


if __name__ == "__main__":
    main()
