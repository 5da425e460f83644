"""What makes the tests quick and alike on every machine."""

from __future__ import annotations

import functools
import gc
import importlib.metadata
import os
import signal
import ssl

import pytest

# Tensors, frames and queries this small are slower on several threads, very much so where tests run side by side.
for variable in ("OMP_NUM_THREADS", "POLARS_MAX_THREADS"):
    os.environ.setdefault(variable, "1")


def pytest_collection() -> None:
    gc.disable()


def pytest_collection_finish() -> None:
    """What all modules made stays until the end: the collector needn't walk through torch in every test."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)  # Python's own took a second of every twenty.
    gc.enable()


def pytest_unconfigure() -> None:
    """Else what is frozen outlives the interpreter, and libraries complain of it at exit."""
    gc.unfreeze()
    gc.collect()


@pytest.fixture(scope="session", autouse=True)
def signals_as_in_a_terminal() -> None:
    """Who is started in the background, or by nohup, has some ignored; so have its children, and ours are tested."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def entry_points_once() -> None:
    """Looking through every installed package takes longer than most tests; those that want others patch this."""
    importlib.metadata.entry_points = functools.cache(importlib.metadata.entry_points)


@pytest.fixture(scope="session", autouse=True)
def certificates_once() -> None:
    """Every HTTP client reads the system's certificates, which takes longer than what most tests ask with it."""
    ssl.create_default_context = functools.cache(ssl.create_default_context)


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_disks() -> None:
    """Nobody pulls the plug during a test; a test of that looks at the calls."""
    os.fsync = lambda descriptor: None
