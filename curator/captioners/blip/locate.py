"""Where a BLIP's files are, and its revision; found without torch. What isn't there is said by the option's name."""

from __future__ import annotations

import json
from pathlib import Path

from curator.captioners.blip.options import Options
from curator.captioners.model.source import Source, find_source
from schemas.errors import NotFound


def find_blip(options: Options) -> Source:
    """Raises NotFound (neither a folder nor on the hub, or not a model's folder), BadOption."""
    try:
        return find_source(options.model, options.revision)
    except NotFound as error:
        drawn = Path(options.model).expanduser() / "model_index.json"
        if drawn.is_file():
            kind = json.loads(drawn.read_text(encoding="utf-8")).get("_class_name", "a diffusers pipeline")
            raise NotFound(f"-o model={options.model}: {kind}, which draws pictures; give one that captions.") from None
        raise NotFound(
            f"-o model={options.model}: {error} Give a BLIP's folder, or its name on the hub once that can be reached."
        ) from None
