"""Cache the untrained base's samples and losses: all runs of a comparison share epoch 0.

An entry's name is the digest of everything it depends on: weights, precision, prompts or images and captions, settings.
Entries are written once and renamed; `rm -r` is always safe.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from schemas.digest import sha256_json
from schemas.document import write_atomically
from trainer_client.evaluate import Losses, Pair
from trainer_client.methods import Method

FORMAT = 2  # Increase it if the same key would give other values.


def is_intact_png(picture: Path) -> bool:
    """Return whether a PNG exists and decodes without a checksum error."""
    try:
        with Image.open(picture) as image:
            image.load()
    except (OSError, SyntaxError, ValueError):
        return False
    return True


class Baseline:
    """The base's cached samples and losses."""

    def __init__(self, cache: Path, method: Method, background: str, measured: Mapping[str, Any] | None = None) -> None:
        """`measured`: what the losses depend on in addition."""
        self.measured = dict(measured or {})
        family = method.family
        self.folder = cache / "base"
        self.facts: dict[str, Any] = {
            "format": FORMAT,
            "base": family.digest,
            "device": family.device.type,
            "precision": str(family.dtype),
            "resolution_px": family.resolution_px,
            "background": background,
            **family.conventions.non_defaults(),
            **method.start,
        }

    def picture(self, path: Path, settings: Mapping[str, Any], draw: Callable[[Path], None]) -> None:
        """Copy the grid for `settings` to `path`; if it is not cached, call `draw` and cache it."""
        kept = self._path(settings, ".png")
        if not is_intact_png(kept):
            draw(path)
            self._keep(path, kept)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        shutil.copyfile(kept, temporary)
        temporary.replace(path)

    def losses(
        self, pairs: list[Pair], timesteps: int, measure: Callable[[list[Pair]], dict[Pair, Losses]]
    ) -> dict[Pair, Losses]:
        """Return the losses of every pair; measure all if this list is not cached."""
        path = self._path({"pairs": pairs, "timesteps": timesteps, **self.measured}, ".json")
        try:
            return dict(zip(pairs, json.loads(path.read_bytes()), strict=True))
        except (FileNotFoundError, ValueError):  # Measure a damaged entry again.
            losses = measure(pairs)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps([losses[pair] for pair in pairs]).encode())
        return losses

    def _path(self, settings: Mapping[str, Any], suffix: str) -> Path:
        return self.folder / f"{sha256_json({**self.facts, **settings})}{suffix}"

    def _keep(self, made: Path, kept: Path) -> None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        temporary = kept.with_name(f".{kept.name}.{os.getpid()}.tmp")
        shutil.copyfile(made, temporary)
        temporary.replace(kept)
