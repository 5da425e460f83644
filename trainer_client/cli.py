"""The `trainer` command: one command a stage. It parses, calls the stage function, shows its result; no logic here."""

from __future__ import annotations

from pathlib import Path

import click

from schemas import __version__
from schemas.edge import Program, catch_errors, json_option, progress_bar, show


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="trainer")
def main() -> None:
    """Finetune on a snapshot, sample the same seeds at chosen epochs, compare caption strategies."""


@main.command("compare")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option("--beside", multiple=True, type=click.Path(path_type=Path), help="Folder of runs: a group apart.")
@click.option("--out", type=click.Path(path_type=Path), default="report.html", show_default=True, help="The page.")
@click.option("--unpaired", is_flag=True, help="Allow runs that differ in more than captions; the page says so.")
@json_option
@catch_errors
def compare_command(runs: tuple[Path, ...], beside: tuple[Path, ...], out: Path, unpaired: bool, as_json: bool) -> None:
    """Set runs side by side on the same prompts, seeds and held-out images, in one HTML page that needs nothing else.

    RUN is a folder that `trainer train` wrote. Runs must differ in nothing but their captions.

    \b
    Example:
      trainer compare runs/* --beside examples/study/76 --out report.html
    """
    from trainer_client.compare import compare, in_words

    with progress_bar(as_json) as progress:
        result = compare(runs, out, beside, unpaired, progress)
    show(result, as_json, lambda comparison: in_words(comparison, out))


if __name__ == "__main__":
    main()
