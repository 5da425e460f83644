"""Captioning machines: a model, or a service, that looks at a picture and writes words.

A strategy that has one (see curator.captioners) gives the runner a `Machine`. The runner drives it in two overlapping
stages: `prepare` on several threads (read, decode, resize), `write` on one thread that owns the device. Neither knows
the catalog.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Protocol

from curator.images.unusable import CannotRead
from schemas.errors import AmatlError


class CannotCaption(CannotRead):
    """This image can't be captioned this time; the next run tries it again."""


class MachineFailed(AmatlError):
    """The model can't write captions. Nothing of this batch is kept; mend it and run the same command again."""


class DoesNotFit(AmatlError):
    """The batch is too large for the device's memory. Use a smaller batch_size."""


@dataclass(frozen=True)
class Item:
    """An image as a machine sees it; `fields` has the metadata columns that the strategy's `fields` named."""

    image_sha256: str
    path: str
    fields: Mapping[str, str | list[str] | None] = field(default_factory=dict)
    size_bytes: int | None = None
    """Of its file when it was ingested: another size now is another picture. None: not to be looked at."""


@dataclass(frozen=True)
class Written:
    """A caption, or (text None) why there is none this time; with what it took, where the machine knows."""

    text: str | None
    reason: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0


def open_machine(what: str, module: str, options: Any) -> Machine:
    """What `open_machine` of a module opens. Raises MachineFailed naming the package that is lacking."""
    try:
        found = import_module(module)
    except ImportError as error:
        package = error.name or "torch"
        raise MachineFailed(f"{what} needs the package {package}: pip install 'amatl[captioning]'.") from error
    machine: Machine = found.open_machine(options)
    return machine


class Machine(Protocol):
    """A loaded model, on its device.

    What it writes for an item depends on that item alone: not on its neighbours, their number or their order.
    """

    batch_size: int | None
    """Items a call of `write`: as asked for by option, or as the machine knows best; None: the runner finds it."""

    def prepare(self, item: Item) -> Any:
        """What `write` wants of an item. Called from several threads at once. Raises CannotCaption with the reason."""

    def write(self, items: Sequence[Item], prepared: Sequence[Any]) -> list[Written]:
        """One `Written` for each item, same order. Called from one thread.

        Raises DoesNotFit (the runner halves the batch and calls again), MachineFailed (the run stops). An image that
        fails by itself is a `Written` without text.
        """

    def close(self) -> None:
        """Gives memory and connections back. The machine isn't used any more."""
