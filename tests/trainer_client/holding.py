"""`trainer` that stands still once it has saved a state as far as asked: a test looks at it, and ends it, at leisure.

    python -m tests.trainer_client.holding EPOCHS STEPS FILE train ...

FILE is made when the state has so many whole epochs and steps of the next; the run goes on when it is removed.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from trainer_client import cli, train
from trainer_client.train.resume_state import Position


def hold(epochs: int, steps: int, file: Path) -> None:
    """Has the first state that is as far be the last for now."""
    save = train.save_state
    held = False

    def holding(run_folder: Path, position: Position, tensors: dict[str, Any]) -> None:
        nonlocal held
        save(run_folder, position, tensors)
        if held or (position.epochs_done, position.steps_done) < (epochs, steps):
            return
        held = True
        file.touch()
        while file.exists():
            time.sleep(0.01)

    train.save_state = holding


if __name__ == "__main__":
    hold(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
    cli.main(sys.argv[4:], prog_name="trainer")
