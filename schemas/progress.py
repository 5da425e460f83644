"""How long work tells its caller how far it is, without knowing who listens."""

from typing import Protocol

TO_THE_END = "to the end"  # A detail with these words tells the time left itself: nobody adds another one.


class Progress(Protocol):
    """Called as work goes on; must return at once.

    `stage` is a short phrase ("hashing images"), `done` of `total` are in the same unit (`total` None while unknown),
    `detail` is what a person would like to see at the end of the line ("loss 0.131", "12 rejects").
    """

    def __call__(self, stage: str, done: int, total: int | None, detail: str = "") -> None: ...


def silent(stage: str, done: int, total: int | None, detail: str = "") -> None:
    """The listener that doesn't."""


class Notice(Protocol):
    """Told, before or while work goes on, what a person should hear at once: a line of plain text."""

    def __call__(self, text: str) -> None: ...


def unheard(text: str) -> None:
    """The listener that isn't there."""
