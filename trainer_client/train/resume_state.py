"""The resume state: one safetensors file, replaced atomically.

It holds fp32 weights, AdamW's moments, the moving average; and in its header as JSON the steps done, the running loss,
the records of finished epochs, the cost. Randomness needs no state (see randomness.py).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from schemas.document import Document, first_problem
from schemas.edge.lock import only_process
from schemas.errors import AmatlError, BadDocument
from schemas.run import Cost, EpochRecord
from trainer_client.train.checkpoint import NotSaved

FILE = "state/state.safetensors"
LOCK = "state/lock"


class RunBusy(AmatlError):
    """Another process is training into this folder. Wait for it, or choose another --out."""


class Position(Document):
    """A run's position: `epochs_done` whole epochs and `steps_done` steps of the next."""

    type: Literal["amatl/resume-state/v1"] = "amatl/resume-state/v1"
    config_digest: str
    epochs_done: int = 0
    steps_done: int = 0
    loss_sum: float = Field(default=0.0, description="Of the images of the unfinished epoch so far.")
    epoch_seconds: float = Field(default=0.0, description="Training time of the unfinished epoch so far.")
    epochs: list[EpochRecord] = Field(default_factory=list)
    images_at_once: int | None = Field(default=None, description="Where --auto-batch lowered it: what fitted.")
    cost: Cost


def save_state(run_folder: Path, position: Position, tensors: dict[str, Tensor]) -> None:
    """Replace the resume state and flush it to disk. Raises NotSaved."""

    path = run_folder / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        save_file(tensors, temporary, metadata={"position": position.model_dump_json()})
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, SafetensorError) as error:  # safetensors raises its own error if the disk is full.
        raise NotSaved.to(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def load_state(run_folder: Path, device: str) -> tuple[Position, dict[str, Tensor]] | None:
    """Load the state with its tensors on `device`; None if there is none. Raises BadDocument."""
    path = run_folder / FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt", device=device) as file:
            position = Position.model_validate_json((file.metadata() or {}).get("position", "{}"))
            return position, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except ValidationError as error:
        raise BadDocument(f"{path}: {first_problem(error)} Delete it to train from the start.") from error
    except SafetensorError as error:
        raise BadDocument(f"{path}: can't be read ({error}). Delete it to train from the start.") from error


def remove_state(run_folder: Path) -> None:
    shutil.rmtree((run_folder / FILE).parent, ignore_errors=True)


@contextmanager
def only_trainer(run_folder: Path) -> Iterator[None]:
    """Lock the run's folder for this process. Raises RunBusy."""
    busy = RunBusy(f"{run_folder}: another process is training there. Wait for it, or choose another --out.")
    with only_process(run_folder / LOCK, lambda: busy):
        yield
