"""Settings of a model that its weights don't contain, for training, sampling and measuring alike.

Stored as `amatl.json` in a checkpoint's folder unless all are defaults. A run's options override the base's.
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
    """The defaults apply to models without this file."""

    type: Literal["amatl/conventions/v1"] = "amatl/conventions/v1"
    zero_terminal_snr: bool = False
    clip_skip: int = Field(default=1, ge=1, description="Text encoder layer to read, counted from the end.")
    max_tokens: int = Field(
        default=CHUNK,
        ge=CHUNK,
        multiple_of=CHUNK,
        description="Caption tokens to read, in chunks of 75.",
    )

    def non_defaults(self) -> dict[str, Any]:
        """Return settings that differ from the defaults. Part of every cache key."""
        defaults = Conventions()
        return {name: value for name, value in self.model_dump().items() if value != getattr(defaults, name)}

    def save(self, folder: Path) -> None:
        """Write the file unless all settings are defaults."""
        if self.non_defaults():
            self.write(folder / FILE)


def read_conventions(folder: Path) -> Conventions:
    """Return a folder's conventions, or the defaults. Raise BadDocument."""
    path = folder / FILE
    return Conventions.read(path) if path.is_file() else Conventions()


def from_header(header: Mapping[str, str]) -> Conventions | None:
    """Return the conventions in a weights file's header, None if our runs didn't write it."""
    if "amatl.run" not in header:
        return None
    texts = {name: header.get(f"amatl.{name}") for name in Conventions().model_dump() if name != "type"}
    return Conventions.model_validate({name: value for name, value in texts.items() if value is not None})
