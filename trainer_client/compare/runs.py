"""Run folders read for a comparison."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import BadDocument, NotFound
from schemas.run import Checkpoint, Evaluation, RunReport
from trainer_client.run_folder import FILE, open_run


@dataclass(frozen=True)
class Run:
    """A run's folder and its run record."""

    folder: Path
    report: RunReport

    @classmethod
    def open(cls, folder: Path) -> Run:
        """Open a run's folder, checkpoints by epoch. Raises NotFound, BadDocument if the record is inconsistent."""
        report = open_run(folder)
        ordered = report.model_copy(update={"checkpoints": sorted(report.checkpoints, key=lambda point: point.epoch)})
        run = cls(folder, ordered)
        _check_lists(run, folder / FILE)
        return run

    @property
    def name(self) -> str:
        return self.report.name

    @property
    def own_track(self) -> str | None:
        """The track it trained on, if it was measured under it (a mix has no track)."""
        captions = self.report.captions
        return captions if any(track.name == captions for track in self.report.snapshot.tracks) else None

    def checkpoint(self, epoch: int) -> Checkpoint | None:
        return next((point for point in self.report.checkpoints if point.epoch == epoch), None)

    def evaluation(self, epoch: int) -> Evaluation | None:
        point = self.checkpoint(epoch)
        return point.evaluation if point else None


def runs_below(folder: Path) -> list[tuple[str, list[Run]]]:
    """Return the groups of runs in a folder: its own run folders, else those of its subfolders.

    Returns (title, runs) pairs sorted by title. Raises NotFound if there is no run.
    """
    if not folder.is_dir():
        raise NotFound(f"{folder}: there is no such folder. Give --beside a folder of runs.")
    own = _runs_in(folder)
    if own:
        return [("/".join(folder.parts[-2:]), own)]
    groups = [(f"{folder.name}/{child.name}", _runs_in(child)) for child in sorted(folder.iterdir()) if child.is_dir()]
    found = [(title, runs) for title, runs in groups if runs]
    if not found:
        raise NotFound(f"{folder}: no run (a folder with {FILE}) in it or in the folders inside it.")
    return found


def _runs_in(folder: Path) -> list[Run]:
    return [Run.open(path.parent) for path in sorted(folder.glob(f"*/{FILE}"))]


def _check_lists(run: Run, path: Path) -> None:
    """Raise BadDocument if a list of losses does not match its images: pairing needs one loss per image."""
    report = run.report
    held_out, subset = len(report.held_out_images), len(report.train_subset_images)
    for point in report.checkpoints:
        if point.evaluation is None:
            continue
        lists = [("held_out", point.evaluation.held_out, held_out)]
        lists.append(("held_out_shuffled", point.evaluation.held_out_shuffled, held_out))
        lists.append(("train_subset", point.evaluation.train_subset, subset))
        for field, by_track, expected in lists:
            for track, losses in by_track.items():
                if len(losses) != expected:
                    raise BadDocument(
                        f"{path}: epoch {point.epoch}, {field}.{track} has {len(losses)} losses for {expected} images. "
                        "Train the run again, or leave it out."
                    )
                if not all(map(math.isfinite, losses)):
                    raise BadDocument(
                        f"{path}: epoch {point.epoch}, {field}.{track} has a loss that is not finite. "
                        "Train it again with a lower learning rate, or leave it out."
                    )
    if len(report.prompt_references) != len(report.prompts):
        raise BadDocument(
            f"{path}: prompt_references has {len(report.prompt_references)} entries for {len(report.prompts)} prompts. "
            "Train the run again, or leave it out."
        )
