"""Caption models: a local model or a service that describes an image.

A model strategy (see curator.captioners) returns a `CaptionModel`. The batch runner drives it in two overlapping
stages: `preprocess` on several threads (read, decode, resize), `generate` on the one thread that owns the device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Protocol

from curator.images.unusable import CannotRead
from schemas.errors import AmatlError


class CannotCaption(CannotRead):
    """This image can't be captioned now; the next run tries it again."""


class MachineFailed(AmatlError):
    """The model can't caption. This batch is lost; fix the problem and run the same command again."""


class DoesNotFit(AmatlError):
    """The batch is too large for the device's memory. Use a smaller batch_size."""


@dataclass(frozen=True)
class Item:
    """An image to caption. `fields`: the columns that the strategy's `fields` named."""

    image_sha256: str
    path: str
    fields: Mapping[str, str | list[str] | None] = field(default_factory=dict)
    size_bytes: int | None = None
    """File size at ingest, to detect that the file has changed. None: not checked."""


@dataclass(frozen=True)
class Output:
    """A caption, or (text None) the reason why there is none; with tokens and cost if the model counts them."""

    text: str | None
    reason: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0


def load_from_module(strategy: str, module: str, options: Any) -> CaptionModel:
    """Import a module and call its `load_model`. Raises MachineFailed naming a missing package."""
    try:
        loader = import_module(module)
    except ImportError as error:
        package = error.name or "torch"
        raise MachineFailed(f"{strategy} needs the package {package}: pip install 'amatl[captioning]'.") from error
    model: CaptionModel = loader.load_model(options)
    return model


class CaptionModel(Protocol):
    """A loaded model on its device.

    The output of an item depends on that item alone, not on the others in its batch, their number or order.
    """

    batch_size: int | None
    """Items of a call of `generate`: the option's value or the model's choice; None: the runner finds the best."""

    def preprocess(self, item: Item) -> Any:
        """Return the input of `generate` for an item. Called from several threads. Raises CannotCaption."""

    def generate(self, items: Sequence[Item], prepared: Sequence[Any]) -> list[Output]:
        """Return one `Output` an item, in order; an image that failed gets one without text. Called from one thread.

        Raises DoesNotFit (the runner halves the batch and calls again), MachineFailed (the run stops).
        """

    def close(self) -> None:
        """Free memory and connections."""
