"""Loads a vision-language model and its processor by transformers' Auto classes; what is missing is named in one line.

Code that a repository brings along (`trust_remote_code`) is never run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from curator.captioners.model import DoesNotFit, MachineFailed
from curator.captioners.model.source import Source
from curator.captioners.vision.processor import PictureAndTokenizer
from schemas.errors import BadOption


def load(source: Source, device: torch.device, dtype: torch.dtype) -> tuple[Any, Any, Any]:
    """(config, processor, model on its device, ready to generate). Raises MachineFailed, DoesNotFit."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    with _in_one_line(source.name):
        config = _config(source)
        return config, _processor(source, config), _model(source, config, dtype).to(device).eval()


def _options(source: Source) -> dict[str, Any]:
    revision = {"revision": source.commit} if source.commit else {}
    return {"trust_remote_code": False, **revision}


def _config(source: Source) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(source.place, **_options(source))


def _model(source: Source, config: Any, dtype: torch.dtype) -> Any:
    from transformers import AutoModelForImageTextToText
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise MachineFailed(
            f"{source.name} is a {config.model_type!r} model, which transformers doesn't know to write of pictures."
        )
    model, found = AutoModelForImageTextToText.from_pretrained(
        source.place, dtype=dtype, output_loading_info=True, **_options(source)
    )
    if missing := sorted(found["missing_keys"]):
        raise MachineFailed(f"{source.name} lacks {len(missing)} of its weights, such as {missing[0]}.")
    return model


def _processor(source: Source, config: Any) -> Any:
    """Something to call with `images` and `text`, which has a `tokenizer`."""
    from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer

    if config.model_type == "vision-encoder-decoder":
        options = _options(source)
        images = AutoImageProcessor.from_pretrained(source.place, **options)
        return PictureAndTokenizer(images, AutoTokenizer.from_pretrained(source.place, **options))
    try:
        processor = AutoProcessor.from_pretrained(source.place, **_options(source))
    except ImportError as error:
        processor = _for_pictures_only(source, config, error)
    if not hasattr(processor, "tokenizer"):
        raise MachineFailed(f"{source.name} has no processor for pictures and text, only {type(processor).__name__}.")
    return processor


def _for_pictures_only(source: Source, config: Any, problem: ImportError) -> Any:
    """The model's processor without its part for videos, which alone may want torchvision (Qwen-VL and others).

    Raises the problem where that isn't what is missing.
    """
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

    usual = PROCESSOR_MAPPING.get(type(config), None)
    if usual is None or "video_processor" not in usual.get_attributes():
        raise problem
    stills: Any = type(usual.__name__, (_WithoutVideos, usual), {})
    return stills.from_pretrained(source.place, **_options(source))


class _WithoutVideos:
    """Goes before a processor class: nothing is loaded for its `video_processor`."""

    @classmethod
    def get_attributes(cls) -> list[str]:
        attributes: list[str] = super().get_attributes()  # type: ignore[misc]
        return [name for name in attributes if name != "video_processor"]


@contextmanager
def _in_one_line(name: str) -> Iterator[None]:
    """What transformers, the hub and torch raise while loading, in one line that says what to do."""
    try:
        yield
    except (MachineFailed, BadOption):
        raise
    except torch.OutOfMemoryError:
        raise DoesNotFit(f"{name} doesn't fit the device's memory: try -o dtype=bfloat16, or a smaller one.") from None
    except ImportError as error:
        raise MachineFailed(_missing_package(name, error)) from None
    except Exception as error:
        raise MachineFailed(_said(name, error)) from None


def _missing_package(name: str, error: ImportError) -> str:
    text = str(error)
    found = re.search(r"requires the ([\w.-]+) library", text) or re.search(r"pip install ([\w.-]+)", text)
    package = error.name or (found[1].lower() if found else None)
    return f"{name} needs the package {package}: pip install {package}" if package else f"{name}: {_first_line(error)}"


def _said(name: str, error: Exception) -> str:
    text = str(error)
    if "trust_remote_code" in text:
        return (
            f"{name} brings its own code, and Amatl runs none that comes with a model. "
            "Take a version made for transformers itself (their names often end in -hf)."
        )
    if missing := re.search(r"Missing optional dependencies: ([\w, ]+)\.", text):
        return f"{name} needs the package {missing[1].lower()}: pip install {missing[1].lower()}"
    if "does not recognize this architecture" in text:
        kind = re.search(r"model type `([^`]+)`", text)
        return f"transformers doesn't know {name}'s model type {kind[1] if kind else ''}: a newer version may."
    return f"{name} can't be loaded: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    line = str(error).strip().partition("\n")[0]
    return f"{line} ({type(error).__name__})" if line else type(error).__name__
