"""The tree stays readable: no import circle, no long file, no long function, few imports inside functions."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.test_startup import HEAVY

ROOT = Path(__file__).parents[1]
PROGRAMS = ("curator", "trainer_client", "schemas")
MOST_LINES_OF_A_FILE, MOST_LINES_OF_A_FUNCTION = 400, 70
LAZY = {  # Files that import a heavy library inside a function, and why.
    **dict.fromkeys(
        [
            "curator/captioners/__init__.py",
            "curator/captioners/blip/load.py",
            "curator/captioners/blip/network.py",
            "curator/captioners/column.py",
            "curator/captioners/compose.py",
            "curator/captioners/empty.py",
            "curator/captioners/fixed.py",
            "curator/captioners/model/downscale.py",
            "curator/captioners/model/prompt.py",
            "curator/captioners/sidecar.py",
            "curator/captioners/tags.py",
            "curator/captioners/template.py",
            "curator/captioners/vision/load.py",
            "curator/captioners/vision/processor.py",
        ],
        "the help of `caption` reads every strategy",
    ),
    **dict.fromkeys(
        [
            "curator/catalog/connection.py",
            "curator/catalog/migrate.py",
            "curator/catalog/perform.py",
            "curator/catalog/schema.py",
        ],
        "a catalog that a service holds needs no DuckDB here",
    ),
    "curator/annotate/label_studio/client.py": "an installation may lack label-studio-sdk",
    "curator/annotate/push/send.py": "it takes 0.5 s, and only a push with new tasks needs it",
    "curator/compare/clip.py": "an installation may lack torch and transformers",
    "curator/images/read.py": "an installation may lack torch",
    "curator/text/printable.py": "read by the help of `check`",
    "schemas/images/bit_depth.py": "an installation may lack Pillow and numpy",
    "schemas/images/orientation.py": "an installation may lack Pillow and numpy",
}


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def files(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def imports() -> dict[str, set[str]]:
    """Return which modules each module imports, inside functions and under TYPE_CHECKING too."""
    paths = {module_of(path): path for path in files(*PROGRAMS)}
    graph: dict[str, set[str]] = {}
    for module, path in paths.items():
        names = set()
        for node in nodes(path):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                whole = {f"{node.module}.{alias.name}" for alias in node.names}
                names |= {name if name in paths else node.module for name in whole}
        graph[module] = {name for name in names if name in paths and name != module}
    return graph


def test_no_file_imports_itself_by_way_of_others() -> None:
    try:
        TopologicalSorter(imports()).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(reversed(error.args[1])))


def test_no_file_is_long() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files(*PROGRAMS, "tests")}
    assert [f"{path}: {lines}" for path, lines in lengths.items() if lines > MOST_LINES_OF_A_FILE] == []


def test_no_function_is_long() -> None:
    long = [
        f"{path}:{node.lineno} {node.name}"
        for path in files(*PROGRAMS, "tests")
        for node in nodes(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > MOST_LINES_OF_A_FUNCTION
    ]
    assert long == []


def test_heavy_libraries_are_imported_inside_functions_only_where_listed() -> None:
    found = {
        str(path.relative_to(ROOT))
        for path in files(*PROGRAMS)
        for function in nodes(path)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
        if name.split(".")[0] in HEAVY
    }
    assert found == set(LAZY)


def test_imports_are_absolute() -> None:
    """The circles above are read from absolute names."""
    relative = [
        f"{path}:{node.lineno}"
        for path in files(*PROGRAMS)
        for node in nodes(path)
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert relative == []


def test_the_contract_of_duckdb_covers_all_of_curator_but_the_catalog() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (listed,) = (set(contract["source_modules"]) for contract in contracts if "duckdb" in contract["name"])
    rooms = {path.stem for path in (ROOT / "curator").glob("*.py")} | {
        path.parent.name for path in (ROOT / "curator").glob("*/__init__.py")
    }
    rooms -= {"__init__", "__main__", "catalog"}
    assert listed >= {f"curator.{room}" for room in rooms} | {"trainer_client", "schemas"}
