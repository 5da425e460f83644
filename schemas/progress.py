"""Progress of long work, reported to a caller's function."""

from typing import Protocol

TO_THE_END = "to the end"  # A detail with these words tells the time left itself: nobody adds another one.


class Progress(Protocol):
    """Called as work goes on; must return at once.

    `stage` is a short phrase ("hashing images"), `done` of `total` are in the same unit (`total` None while unknown),
    `detail` is shown at the end of the line ("loss 0.131", "12 rejects").
    """

    def __call__(self, stage: str, done: int, total: int | None, detail: str = "") -> None: ...


def silent(stage: str, done: int, total: int | None, detail: str = "") -> None:
    """Ignore progress."""


class Notice(Protocol):
    """Called with a line of text that the user should see at once."""

    def __call__(self, text: str) -> None: ...


def unheard(text: str) -> None:
    """Ignore notices."""
