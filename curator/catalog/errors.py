"""Errors of opening, reading and writing a catalog."""

from __future__ import annotations

from schemas.errors import AmatlError


class CatalogLocked(AmatlError):
    """Another process has the catalog open. Wait until it ends, then try again."""


class NotACatalog(AmatlError):
    """The file isn't a curator catalog. Name another one, or make one with: curator init FILE"""


class OnAnotherMachine(AmatlError):
    """This needs files beside the catalog: run it on the catalog's own machine."""


class CatalogFailed(AmatlError):
    """The catalog can't be read or written: look at the disk, the rights and the memory, then try again."""
