"""Makes runs small enough to commit: reports and grids alone, grids as WebP. `pack.py RUNS OUT`.

`trainer compare` reads the result as it reads whole runs: it needs neither checkpoints nor the snapshot.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from PIL import Image

from schemas.digest import sha256_file
from schemas.run import Grid, RunReport

QUALITY = 88


def pack_grid(grid: Grid, run: Path, out: Path) -> Grid:
    """Writes one grid as WebP and returns its new reference."""
    target = out / Path(grid.file.path).with_suffix(".webp")
    target.parent.mkdir(parents=True, exist_ok=True)
    picture = io.BytesIO()
    Image.open(run / grid.file.path).convert("RGB").save(picture, "WEBP", quality=QUALITY, method=6)
    target.write_bytes(picture.getvalue())
    path = target.relative_to(out).as_posix()
    reference = {"path": path, "sha256": sha256_file(target), "size_bytes": target.stat().st_size}
    return grid.model_copy(update={"file": grid.file.model_copy(update=reference)})


def pack(run: Path, out: Path) -> None:
    """Writes one run's report and grids to `out`."""
    report = RunReport.read(run / "run.json")
    checkpoints = [
        checkpoint.model_copy(update={"grid": checkpoint.grid and pack_grid(checkpoint.grid, run, out)})
        for checkpoint in report.checkpoints
    ]
    references = report.references and pack_grid(report.references, run, out)
    report.model_copy(update={"checkpoints": checkpoints, "references": references}).write(out / "run.json")


if __name__ == "__main__":
    runs, packed = Path(sys.argv[1]), Path(sys.argv[2])
    for path in sorted(runs.glob("*/*/run.json")):
        pack(path.parent, packed / path.parent.relative_to(runs))
