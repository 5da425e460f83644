"""Runs the benchmarks and prints one table: `python -m tests.bench [NAME ...]`. Timings never fail a test."""

from __future__ import annotations

import importlib
import pkgutil
import sys

from rich.console import Console
from rich.table import Table

import tests.bench

NAMES = sorted(
    module.name
    for module in pkgutil.iter_modules(tests.bench.__path__)
    if module.name not in ("__main__", "architectures", "blip_models", "card", "table", "trees")
)


def main(names: list[str]) -> None:
    unknown = set(names) - set(NAMES)
    if unknown:
        sys.exit(f"No benchmark named {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}.")
    table = Table("benchmark", "against", "ratio", "figures", title="Amatl benchmarks")
    console = Console()
    for name in names or NAMES:
        console.print(f"running {name} ...", style="dim")
        for row in importlib.import_module(f"tests.bench.{name}").bench():
            table.add_row(row.name, row.baseline, f"{row.ratio:.1f}x", row.detail)
    console.print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
