"""`--help` must stay instant: no command's help may load a heavy library."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = (
    "torch",
    "transformers",
    "diffusers",
    "duckdb",
    "polars",
    "pyarrow",
    "numpy",
    "PIL",
    "cv2",
    "fastapi",
    "label_studio_sdk",
)
PROBE = """
import json, sys
from click.testing import CliRunner
from {program}.cli import main
names = [[]] + [[name] for name in main.commands]
codes = [CliRunner().invoke(main, [*name, "--help"]).exit_code for name in names]
print(json.dumps({{"codes": codes, "loaded": [name for name in {heavy!r} if name in sys.modules]}}))
"""


@pytest.mark.parametrize("program", ["curator", "trainer_client"])
def test_help_of_every_command_loads_nothing_heavy(program: str) -> None:
    code = PROBE.format(program=program, heavy=HEAVY)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seen = json.loads(result.stdout)
    assert seen["loaded"] == []
    assert set(seen["codes"]) == {0}
