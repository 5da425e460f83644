"""Log losses and samples to TensorBoard, Weights & Biases, MLflow or trackio, through accelerate.

`run.json` stays the record. Losses are logged by optimiser step. TensorBoard's files are in the run's folder, so
`tensorboard --logdir runs` compares runs; the other trackers put all runs in one project. A resumed run continues its
curve. A tracker's error is reported once and never ends the run. MLflow and trackio get no samples: accelerate does not
send them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from schemas.digest import sha256_json
from schemas.errors import AmatlError
from schemas.progress import Progress, silent
from schemas.run import Checkpoint, EpochRecord, RunReport
from trainer_client.train.early_stopping import own_losses

FOLDER = "tensorboard"
PROJECT = "amatl"  # One project for all runs, to compare them.
TAG = "amatl.run"
MOST_IN_A_ROW = 3


class NoTracker(AmatlError):
    """The tracker can't be used."""


class Tracker:
    """A run's tracker. `finish` closes it.

    `failure` is the first error, or None. After a few failures in a row logging stops: some services block for minutes
    on each call.
    """

    def __init__(self, name: str, report: RunReport, folder: Path, progress: Progress = silent) -> None:
        self._tracker = None if name == "none" else _started(name, report, folder)
        self._name, self._progress, self._in_a_row = name, progress, 0
        self.failure: str | None = None

    def epoch(self, record: EpochRecord) -> None:
        """Log an epoch's loss, rate and speed."""
        values = {
            "train/loss": record.train_loss,
            "train/learning_rate": record.learning_rate,
            "train/images_per_second": record.images_per_second,
            "train/epoch": record.epoch,
        }
        self._tell(lambda tracker: tracker.log(values, step=record.steps))

    def checkpoint(self, report: RunReport, point: Checkpoint, step: int, folder: Path) -> None:
        """Log a checkpoint's held-out losses, leakage and samples."""
        losses = own_losses(report).get(point.epoch)
        values = {} if losses is None else {"held_out/loss": sum(losses) / len(losses)}
        if point.evaluation is not None and point.evaluation.leakage:
            values["held_out/leakage"] = sum(point.evaluation.leakage) / len(point.evaluation.leakage)
        grid = point.grid

        def tell(tracker: Any) -> None:
            if values:
                tracker.log(values, step=step)
            if grid is not None and hasattr(tracker, "log_images"):
                tracker.log_images({"samples": _picture(folder / grid.file.path, self._name)}, step=step)

        self._tell(tell)

    def finish(self) -> None:
        """Close the tracker. Safe to call twice."""
        self._tell(lambda tracker: _ended(self._name, tracker))
        self._tracker = None

    def _tell(self, what: Callable[[Any], None]) -> None:
        if self._tracker is None:
            return
        try:
            with redirect_stdout(sys.stderr):  # stdout is for the result.
                what(self._tracker)
            self._in_a_row = 0
        except Exception as error:  # Each service raises its own types.
            self._in_a_row += 1
            if self.failure is None:
                self.failure = f"{self._name}: {_first_line(error)}"
                self._progress("tracking", 0, 1, f"{self.failure}; the run goes on, run.json has every figure")
            if self._in_a_row == MOST_IN_A_ROW:
                self._tracker = None


def refuse_missing(name: str) -> None:
    """Raise NoTracker if the package is not installed, without importing it."""
    if name != "none" and find_spec(name) is None:
        raise NoTracker(f"--tracker {name}: {name} isn't installed. `pip install {name}`, or --tracker none.")


def _started(name: str, report: RunReport, folder: Path) -> Any:
    """Start accelerate's tracker. Raises NoTracker if its package is missing or fails."""
    from accelerate import PartialState
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    PartialState()  # accelerate's trackers need it.
    try:
        with redirect_stdout(sys.stderr):  # stdout is for the result.
            tracker = LOGGER_TYPE_TO_CLASS[name](*_where(name, folder), **_settings(name, report))
            tracker.start()
            _tell_config(name, tracker, report)
    except ImportError as error:
        missing = error.name or name
        raise NoTracker(
            f"--tracker {name}: {missing} isn't installed. `pip install {missing}`, or --tracker none."
        ) from error
    except Exception as error:  # Each service raises its own types.
        raise NoTracker(
            f"--tracker {name}: can't be started ({_first_line(error)}). Fix the cause, or use --tracker none."
        ) from error
    return tracker


def _ended(name: str, tracker: Any) -> None:
    if name == "trackio":  # Ending the run only would print to stdout at exit.
        import_module("trackio").finish()
    else:
        tracker.finish()


def _tell_config(name: str, tracker: Any, report: RunReport) -> None:
    if name == "tensorboard":  # accelerate would write a new folder each time.
        tracker.log({"config": _as_text(report.config)}, step=0)
    elif name != "mlflow" or not report.epochs:  # MLflow refuses to change a value.
        tracker.store_init_configuration({key: str(value) for key, value in report.config.items()})


def _where(name: str, folder: Path) -> tuple[Any, ...]:
    if name == "tensorboard":
        return (FOLDER, str(folder))
    asked = os.environ.get("WANDB_PROJECT") if name == "wandb" else None  # accelerate reads MLflow's variable.
    return (asked or PROJECT,)


def _settings(name: str, report: RunReport) -> dict[str, Any]:
    """Return the tracker's run name, and the id to resume."""
    steps = report.epochs[-1].steps if report.epochs else 0
    own = sha256_json([report.name, report.config_digest, report.started_at])[:16]
    if name == "tensorboard":
        return {"purge_step": steps + 1}  # Drop steps logged after the resume state.
    if name == "wandb":
        return {"name": report.name, "id": own, "resume": "allow"}
    if name == "trackio":
        return {"name": report.name, "resume": "allow" if report.epochs else "never"}
    begun = _begun_in_mlflow(own) if report.epochs else None
    return {"run_name": report.name, "run_id": begun, "tags": {TAG: own}}


def _begun_in_mlflow(own: str) -> str | None:
    """Return MLflow's id of the run to resume; None if MLflow does not know it."""
    project = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
    found = import_module("mlflow").search_runs(
        experiment_names=[project], filter_string=f"tags.`{TAG}` = '{own}'", max_results=1, output_format="list"
    )
    return found[0].info.run_id if found else None


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _as_text(config: dict[str, Any]) -> str:
    return "  \n".join(f"{name}: {value}" for name, value in config.items())


def _picture(path: Path, name: str) -> Any:
    """Return a grid in the tracker's form: TensorBoard (1, 3, H, W), others a list of images."""
    with Image.open(path) as image:
        picture = image.convert("RGB")
    return np.asarray(picture).transpose(2, 0, 1)[None] if name == "tensorboard" else [picture]
