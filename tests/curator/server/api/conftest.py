"""Fixtures of the service, and a snapshot of its catalog."""

from __future__ import annotations

from pathlib import Path

import pytest

from curator.snapshot import Holdout, SnapshotResult, snapshot
from tests.curator.lab import Lab
from tests.curator.server.conftest import app, catalog, client, lab, make_client, settings

__all__ = ["app", "catalog", "client", "lab", "make_client", "settings"]


@pytest.fixture
def made(lab: Lab, tmp_path: Path) -> SnapshotResult:
    """`human@1` and `template@1` as a snapshot with one image held out."""
    versions = ["human@1", "template@1"]
    return snapshot(lab.write(), versions, tmp_path / "snapshot", holdout=Holdout(count=1), person="ana")
