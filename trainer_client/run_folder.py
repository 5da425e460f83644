"""A run's folder: its run record and its checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from schemas.errors import AlreadyExists, NotFound
from schemas.run import Checkpoint, RunReport

FILE = "run.json"


def read_record(run_folder: Path) -> RunReport | None:
    """Return the run record, None if no run was started here.

    Raise AlreadyExists if the folder holds something else, BadDocument.
    """
    path = run_folder / FILE
    if path.is_file():
        return RunReport.read(path)
    names = [entry.name for entry in run_folder.iterdir()] if run_folder.is_dir() else []
    # A run that was killed before its first record may have left these.
    foreign = [
        name for name in names if name != "state" and not (name.startswith(f".{FILE}.") and name.endswith(".tmp"))
    ]
    if foreign or (run_folder.exists() and not run_folder.is_dir()):
        what = f"holds {sorted(foreign)[0]} but no {FILE}" if foreign else "is a file"
        raise AlreadyExists(f"{run_folder}: {what}; a run needs its own folder. Choose another --out.")
    return None


def existing_checkpoints(report: RunReport, run_folder: Path, advice: str) -> list[Checkpoint]:
    """Return the checkpoints whose folders exist. Raise NotFound with `advice` if none does."""
    existing = [checkpoint for checkpoint in report.checkpoints if (run_folder / checkpoint.folder).is_dir()]
    if existing:
        return existing
    if not report.checkpoints:
        raise NotFound(f"{run_folder}: no checkpoint saved yet. Run `trainer train` with the same options to continue.")
    raise NotFound(f"{run_folder}: the folders of its checkpoints are missing. {advice}")


TRAIN_AGAIN = "Train it again to sample from it."


def open_run(folder: Path) -> RunReport:
    """Return the run record. Raise NotFound, BadDocument."""
    path = folder / FILE
    if not path.is_file():
        raise NotFound(f"{folder}: not a run, it has no {FILE}. Give a folder that `trainer train` wrote.")
    return RunReport.read(path)


def find_checkpoint(report: RunReport, run_folder: Path, epoch: int | None) -> Checkpoint:
    """Return an epoch's checkpoint, by default the last. Raise NotFound, which lists the epochs."""
    existing = existing_checkpoints(report, run_folder, TRAIN_AGAIN)
    matching = [checkpoint for checkpoint in existing if epoch is None or checkpoint.epoch == epoch]
    if matching:
        return matching[-1]
    epochs = ", ".join(str(checkpoint.epoch) for checkpoint in existing)
    raise NotFound(f"{run_folder}: no checkpoint of epoch {epoch}. Choose from {epochs}.")


def find_checkpoints(
    report: RunReport, run_folder: Path, epochs: Sequence[int] | Literal["all"] = ()
) -> list[Checkpoint]:
    """Return the checkpoints of these epochs, of all, or the last one. Raise NotFound."""
    if epochs == "all":
        return existing_checkpoints(report, run_folder, TRAIN_AGAIN)
    if not epochs:
        return [find_checkpoint(report, run_folder, None)]
    return [find_checkpoint(report, run_folder, epoch) for epoch in sorted(set(epochs))]


def last_checkpoint(run_folder: Path) -> Path:
    """Return the folder of the last existing checkpoint. Raise NotFound."""
    checkpoints = existing_checkpoints(open_run(run_folder), run_folder, "Give another run, or train it again.")
    return run_folder / checkpoints[-1].folder
