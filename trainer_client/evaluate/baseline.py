"""What the untrained base draws and scores, kept in the cache: every run of a comparison starts with the same epoch 0.

An entry's name is the digest of everything it depends on: the base's weights, the arithmetic, the prompts or images
and captions, the settings. Entries are written once and renamed into place; `rm -r` is always safe.
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

FORMAT = 2  # Raise it when the same key would hold other values.


def _whole(picture: Path) -> bool:
    """Whether a PNG is there and decodes; its checksums tell a changed byte."""
    try:
        with Image.open(picture) as image:
            image.load()
    except (OSError, SyntaxError, ValueError):
        return False
    return True


class Baseline:
    """The base's pictures and losses, from the cache where they are there."""

    def __init__(self, cache: Path, method: Method, background: str, measured: Mapping[str, Any] | None = None) -> None:
        """`measured` is what losses depend on beside all that pictures do."""
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
        """Puts the picture that `draw` makes from `settings` at `path`, copied where it was drawn before."""
        kept = self._path(settings, ".png")
        if not _whole(kept):  # A damaged picture is drawn again.
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
        """The losses of every pair; measures all of them where this list wasn't measured before."""
        path = self._path({"pairs": pairs, "timesteps": timesteps, **self.measured}, ".json")
        try:
            return dict(zip(pairs, json.loads(path.read_bytes()), strict=True))
        except (FileNotFoundError, ValueError):  # A damaged list is made again.
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
