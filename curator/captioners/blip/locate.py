"""Find a BLIP's files and revision without torch. Errors name the option."""

from __future__ import annotations

import json
from pathlib import Path

from curator.captioners.blip.options import Options
from curator.captioners.model.source import Source, find_source
from schemas.errors import NotFound


def find_blip(options: Options) -> Source:
    """Resolve the options. Raises BadOption; NotFound if there is neither a model's folder nor a model on the hub."""
    try:
        return find_source(options.model, options.revision)
    except NotFound as error:
        pipeline = Path(options.model).expanduser() / "model_index.json"
        if pipeline.is_file():
            kind = json.loads(pipeline.read_text(encoding="utf-8")).get("_class_name", "a diffusers pipeline")
            raise NotFound(
                f"-o model={options.model}: a {kind}, which generates images. Give a captioning model."
            ) from None
        raise NotFound(f"-o model={options.model}: {error} Give a BLIP's folder, or its name on the hub.") from None
