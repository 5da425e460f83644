"""A change of structure must cost no speed: a training step and BLIP in this checkout and in another, in turn.

    python -m tests.bench.trees FOLDER --part step --rounds 3

Each measurement is a process of its own, so that both checkouts begin alike. On a GPU: Stable Diffusion 1.5, every
weight, compiled, batch 64; BLIP base, greedy, 20 tokens, from pixels and from JPEG files. On a CPU: toy sizes, which
only show that it works.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parents[2]
BEGIN = """
import json, tempfile, torch
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

gpu = torch.cuda.is_available()
device = torch.device("cuda" if gpu else "cpu")

def names(*files):  # In whichever of these files a checkout has them.
    modules = [import_module(file) for file in files if find_spec(file)]
    return {name: value for module in reversed(modules) for name, value in vars(module).items()}
"""
PARTS = {
    "step": """
globals().update(names("tests.bench.training", "tests.bench.card"))
it = Measured(Scale() if gpu else TOY, device)
with tempfile.TemporaryDirectory() as folder:
    it.compare(Path(folder), "SD 1.5", it.scale.sd15, SD15_TFLOP, it.scale.example_batch, it.scale.batch)
print(json.dumps(it.rates))
""",
    "blip": """
globals().update(names("tests.bench.captioning", "tests.bench.blip_models"))
torch.set_grad_enabled(False)
it = Measured(Scale() if gpu else TINY, device)
with tempfile.TemporaryDirectory() as place:
    folder = Path(place)
    model = build(it.scale.text, it.scale.vision, it.scale.side_px)
    save(folder / "base", model, it.scale.side_px)
    files = write_photographs(folder / "pictures", it.scale)
    network = from_transformers(model.to(it.device, it.dtype), MEAN, STD, 1 / 255)
    it.engine("BLIP from pixels", network, it.prepared(files))
    it.files_to_rows(folder, files)
print(json.dumps({row.name: float(row.detail.split()[0].replace(",", "")) for row in it.found}))
""",
}


def measure(tree: Path, part: str) -> dict[str, float]:
    """Return images/s by name, of one fresh process in a checkout."""
    path = os.pathsep.join([str(tree), *filter(None, [os.environ.get("PYTHONPATH")])])
    ended = subprocess.run(
        [sys.executable, "-c", BEGIN + PARTS[part]],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    rates: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.trees", description=__doc__.splitlines()[0])
    parser.add_argument("other", type=Path, help="another checkout: the baseline")
    parser.add_argument("--part", action="append", choices=list(PARTS), help="what to measure; all parts without it")
    parser.add_argument("--rounds", type=int, default=3, help="how often both are measured")
    given = parser.parse_args()
    trees = {"other": given.other.resolve(), "this": HERE}
    rates: dict[str, dict[str, list[float]]] = defaultdict(lambda: {name: [] for name in trees})
    for part in given.part or PARTS:
        for turn in range(given.rounds):
            for name in list(trees)[:: 1 if turn % 2 else -1]:  # Each goes first in turn.
                for figure, rate in measure(trees[name], part).items():
                    rates[figure][name].append(rate)
                    print(f"round {turn + 1}, {name}: {figure} {rate:,.4g} images/s", file=sys.stderr, flush=True)
    table = Table("images/s", "other: median (lowest to highest)", "this", "this / other")
    for figure, by_tree in rates.items():
        if not all(by_tree.values()):
            continue  # What failed has said so on stderr.
        spread = [f"{median(each):,.4g} ({min(each):,.4g} to {max(each):,.4g})" for each in by_tree.values()]
        table.add_row(figure, *spread, f"{median(by_tree['this']) / median(by_tree['other']):.3f}")
    Console().print(table)


if __name__ == "__main__":
    main()
