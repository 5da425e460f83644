"""Catalog queries on snapshots and runs: one method for each query of queries/lineage.sql."""

from __future__ import annotations

from typing import Any

import polars as pl

from curator.catalog.connection import Connection, change


class Lineage(Connection):
    def snapshots(self) -> pl.DataFrame:
        """Return every snapshot, newest first, one row for each folder.

        Columns: identity, images_identity, dataset, folder, manifest (JSON text), size_bytes, person, made_at.
        """
        return self._read("snapshots")

    @change
    def add_snapshot(
        self,
        identity: str,
        images_identity: str,
        dataset: str,
        folder: str,
        manifest: str,
        size_bytes: int,
        person: str,
    ) -> None:
        """Record a snapshot folder; `manifest` is JSON text. No effect if already recorded."""

    def runs(self, snapshot_identity: str | None = None) -> pl.DataFrame:
        """Return the runs of one snapshot, or all (None), last updated first.

        Columns: digest, run_key, name, snapshot_identity, captions, status, dataset, started_at, updated_at, base,
        method, epochs, checkpoints (how many), person, posted_at.
        """
        return self._read("runs", snapshot_identity=snapshot_identity)

    def run_report(self, wanted: str) -> dict[str, Any] | None:
        """Return a report by digest, or the last one by run key: digest, run_key, report (JSON text) ..."""
        rows = self._read("run_report", wanted=wanted).to_dicts()
        return rows[0] if rows else None

    def add_run_report(
        self,
        digest: str,
        run_key: str,
        name: str,
        snapshot_identity: str,
        captions: str,
        status: str,
        report: str,
        person: str,
    ) -> None:
        """Store a report (JSON text). No effect if it equals the run's last one."""
        self._write(
            "add_run_report",
            digest=digest,
            run_key=run_key,
            run_name=name,
            snapshot_identity=snapshot_identity,
            captions=captions,
            status=status,
            report=report,
            person=person,
        )
