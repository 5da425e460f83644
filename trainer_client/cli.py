"""The `trainer` command: one command a stage. It parses, calls the stage function, shows its result; no logic here."""

from __future__ import annotations

from typing import Any

import click

from schemas import __version__
from schemas.edge import Program, catch_errors, json_option, progress_bar, show
from trainer_client.config import TrainConfig
from trainer_client.options import GroupedCommand, config_of, options_of


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="trainer")
def main() -> None:
    """Finetune on a snapshot, sample the same seeds at chosen epochs, compare caption strategies."""


@main.command("train", cls=GroupedCommand)
@options_of(TrainConfig)
@json_option
@catch_errors
def train_command(as_json: bool, **values: Any) -> None:
    """Finetune a base model on one caption track of SNAPSHOT; save, draw and measure it at chosen epochs.

    An interrupted run goes on where it stopped when the same command is given again.

    \b
    Example:
      trainer train snapshots/all --captions template --base examples/mini/sd --learning-rate 1e-4 \\
          --epochs 45 --save-epochs 1,2,5,15,30,45 --prompts prompts.txt --seeds 1,2,3 --out runs/template
    """
    config = config_of(TrainConfig, values)
    from trainer_client.outcome import render
    from trainer_client.train import train

    with progress_bar(as_json) as progress:
        result = train(config, progress)
    show(result, as_json, render)


if __name__ == "__main__":
    main()
