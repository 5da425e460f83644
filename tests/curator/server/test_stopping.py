"""Stop a service right after its start, while it still loads the working copies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.curator.lab import Lab

# The working copy takes longer than the service lives, as that of a large dataset does.
SCRIPT = """
import os, signal, sys, threading, time
from pathlib import Path
from curator.catalog import working_copy as table
from curator.cli import main
from curator.server import serve as stage

reading, left, read = threading.Event(), threading.Event(), table._read

def slowly(catalog, dataset):
    found = read(catalog, dataset)
    reading.set()
    left.wait(30)
    time.sleep(0.3)
    return found

def announce(result):
    threading.Thread(target=lambda: reading.wait(30) and os.kill(os.getpid(), signal.SIGTERM)).start()

table._read = slowly
stage.serve(Path(sys.argv[1]), stage.ServeOptions(port=0), announce, main)
left.set()
"""


@pytest.mark.slow
def test_it_ends_in_silence(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.add("fox.png", 1)
    lab.close()
    words = [sys.executable, "-c", SCRIPT, str(lab.catalog.path)]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stdout) == (0, "")
    assert "leaked" not in ended.stderr and "Traceback" not in ended.stderr, ended.stderr
