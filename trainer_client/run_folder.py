"""A run's folder: its run record and its checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from schemas.errors import AlreadyExists, NotFound
from schemas.run import Checkpoint, RunReport

FILE = "run.json"


def read_record(run_folder: Path) -> RunReport | None:
    """Return the run record in the folder of a new or begun run, None if no run was begun.

    Raises AlreadyExists where the folder holds something else, BadDocument.
    """
    path = run_folder / FILE
    if path.is_file():
        return RunReport.read(path)
    names = [entry.name for entry in run_folder.iterdir()] if run_folder.is_dir() else []
    # What a run may have made that was killed before its first record was there.
    strangers = [
        name for name in names if name != "state" and not (name.startswith(f".{FILE}.") and name.endswith(".tmp"))
    ]
    if strangers or (run_folder.exists() and not run_folder.is_dir()):
        what = f"holds {sorted(strangers)[0]} but no {FILE}" if strangers else "is a file"
        raise AlreadyExists(f"{run_folder}: {what}; a run needs a folder of its own. Choose another --out.")
    return None


def kept_checkpoints(report: RunReport, run_folder: Path, otherwise: str) -> list[Checkpoint]:
    """Those whose folders are still there, in their order. Raises NotFound where none is; `otherwise` is what to do
    about checkpoints that are gone."""
    kept = [checkpoint for checkpoint in report.checkpoints if (run_folder / checkpoint.folder).is_dir()]
    if kept:
        return kept
    if not report.checkpoints:
        raise NotFound(f"{run_folder}: no checkpoint is saved yet. `trainer train` with the same options goes on.")
    raise NotFound(f"{run_folder}: its checkpoints aren't there any more. {otherwise}")


DRAW_AGAIN = "Train it again to draw more pictures."


def open_run(folder: Path) -> RunReport:
    """Return the run record of a run's folder. Raises NotFound, BadDocument."""
    path = folder / FILE
    if not path.is_file():
        raise NotFound(f"{folder}: not a run, it has no {FILE}. Give a folder that `trainer train` wrote.")
    return RunReport.read(path)


def find_checkpoint(report: RunReport, run_folder: Path, epoch: int | None) -> Checkpoint:
    """The checkpoint of an epoch, by default the last. Raises NotFound listing those that are there."""
    there = kept_checkpoints(report, run_folder, DRAW_AGAIN)
    found = [checkpoint for checkpoint in there if epoch is None or checkpoint.epoch == epoch]
    if found:
        return found[-1]
    epochs = ", ".join(str(checkpoint.epoch) for checkpoint in there)
    raise NotFound(f"{run_folder}: no checkpoint of epoch {epoch}. There are {epochs}.")


def find_checkpoints(
    report: RunReport, run_folder: Path, epochs: Sequence[int] | Literal["all"] = ()
) -> list[Checkpoint]:
    """The checkpoints of these epochs in their order, all that are there, or the last. Raises NotFound."""
    if epochs == "all":
        return kept_checkpoints(report, run_folder, DRAW_AGAIN)
    if not epochs:
        return [find_checkpoint(report, run_folder, None)]
    return [find_checkpoint(report, run_folder, epoch) for epoch in sorted(set(epochs))]


def last_checkpoint(run_folder: Path) -> Path:
    """The folder of a run's last checkpoint that is still there. Raises NotFound."""
    report = open_run(run_folder)
    kept = kept_checkpoints(report, run_folder, "Give another run, or train it again.")
    return run_folder / kept[-1].folder
