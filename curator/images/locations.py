"""Paths of other machines in a service's catalog: `laptop:/photos/fox.png`, as scp writes them.

A path on the catalog's own machine is absolute, so the two can't be confused: a path of another machine is never
opened here. Its bytes were uploaded and are found by their SHA-256.
"""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path

from curator.catalog import Catalog
from curator.catalog.remote import service_folder
from schemas.errors import BadOption

ELSEWHERE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,252}):(/.*)", re.DOTALL)
MACHINE = "CURATOR_MACHINE"


@dataclass(frozen=True)
class Names:
    """Names of this machine's paths in a catalog. `machine` is None if the catalog is on this machine."""

    machine: str | None

    def stored(self, path: str) -> str:
        """Map an absolute local path to its catalog path."""
        return path if self.machine is None else f"{self.machine}:{path}"

    def here(self, stored: str) -> str:
        """Map a catalog path to a local path. Paths recorded by another machine are returned unchanged."""
        return stored if self.machine is None else stored.removeprefix(f"{self.machine}:")

    def is_here(self, stored: str) -> bool:
        """Return whether a stored path is on this machine."""
        found = split(stored)
        return (found[0] if found else None) == self.machine


def names(catalog: Catalog) -> Names:
    """Return the names for a catalog; one given by URL knows this machine by its name. Raises BadOption."""
    return Names(machine() if catalog.remote_disk else None)


def machine() -> str:
    """Return this machine's name: $CURATOR_MACHINE, else its host name. Raises BadOption if it is invalid."""
    name = os.environ.get(MACHINE) or socket.gethostname()
    if not ELSEWHERE.fullmatch(f"{name}:/"):
        raise BadOption(f"{MACHINE}: {name!r} can't name a machine. Use letters, digits, dots and dashes.")
    return name


def split(path: str) -> tuple[str, str] | None:
    """Split a path of another machine into machine and path; None for a path on the catalog's own machine."""
    match = ELSEWHERE.fullmatch(path)
    return (match[1], match[2]) if match else None


def uploaded(folder: Path, sha256: str) -> Path:
    """Return the path of an uploaded image. Raises ValueError for an invalid SHA-256."""
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise ValueError("not a sha256")
    return folder / sha256[:2] / sha256


def uploads_folder(catalog_path: Path) -> Path:
    """Return the folder of a service's uploads, beside the catalog."""
    return service_folder(catalog_path) / "uploads"
