"""How a model is to be used where its weights don't say so; the same in training, drawing and measuring.

Kept as `amatl.json` in a checkpoint's folder where anything isn't as usual, and read from there by everything that
loads it; what a run asks for goes before what its base says.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from schemas.document import Document

FILE = "amatl.json"
CHUNK = 75  # Tokens between a begin and an end mark.


class Conventions(Document):
    """The defaults are what every model has without this file."""

    type: Literal["amatl/conventions/v1"] = "amatl/conventions/v1"
    zero_terminal_snr: bool = False
    clip_skip: int = Field(
        default=1, ge=1, description="The layer of the text encoder that is read, counted from the end."
    )
    max_tokens: int = Field(
        default=CHUNK,
        ge=CHUNK,
        multiple_of=CHUNK,
        description="Words and signs of a caption that are read, in chunks of 75.",
    )

    def unusual(self) -> dict[str, Any]:
        """What isn't as usual, by name: a part of every key of what the model made."""
        usual = Conventions()
        return {name: value for name, value in self.model_dump().items() if value != getattr(usual, name)}

    def save(self, folder: Path) -> None:
        """Writes the file where there is something to say."""
        if self.unusual():
            self.write(folder / FILE)


def read_conventions(folder: Path) -> Conventions:
    """What a folder says; the usual ones where it says nothing. Raises BadDocument."""
    path = folder / FILE
    return Conventions.read(path) if path.is_file() else Conventions()


def from_header(header: Mapping[str, str]) -> Conventions | None:
    """What the header of a file of weights that a run of ours made says; None of a file from elsewhere."""
    if "amatl.run" not in header:
        return None
    named = {name: header.get(f"amatl.{name}") for name in Conventions().model_dump() if name != "type"}
    return Conventions.model_validate({name: value for name, value in named.items() if value is not None})
