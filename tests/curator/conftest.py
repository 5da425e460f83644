"""Catalogs that are filled once and lent to test after test, until one changes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from curator.catalog import connection
from tests.curator.lab import Lab


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_catalogs_disk() -> None:
    """DuckDB waits for the disk by itself: Python's fsync isn't asked."""
    connection.CONFIGURATION = {"fsync_mode": "NONE", **connection.CONFIGURATION}


class Labs:
    """Labs that the tests so far left as they were, by what filled them: filling takes longer than most tests."""

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        self.folders = folders
        self.unchanged: dict[Callable[[Lab], object], Lab] = {}

    @contextmanager
    def filled(self, fill: Callable[[Lab], object]) -> Iterator[Lab]:
        """A lab that `fill` filled. It is lent again if no row and no file has changed at the end."""
        lab = self.unchanged.pop(fill, None)
        if lab is None:
            lab = Lab(self.folders.mktemp("lab"))
            fill(lab)
            lab.write()
        before = _state(lab)
        yield lab
        if _state(lab) == before:
            self.unchanged[fill] = lab
        else:
            lab.catalog.close()

    def close(self) -> None:
        for lab in self.unchanged.values():
            lab.catalog.close()


def _state(lab: Lab) -> tuple[object, ...]:
    """Every change of a row grows the catalog's log or its file."""
    files = {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in lab.folder.rglob("*") if path.is_file()}
    return files, lab.dataset, dict(lab.pending), lab.files, lab.captions, lab.runs, dict(lab.versions)


@pytest.fixture(scope="session")
def labs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Labs]:
    """`labs.filled(fill)`: a lab to read, and to change."""
    labs = Labs(tmp_path_factory)
    yield labs
    labs.close()
