"""Load a vision-language model and its processor by transformers' Auto classes, with errors on one line.

Code that ships with a model (`trust_remote_code`) is never run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from curator.captioners.model import DoesNotFit, MachineFailed
from curator.captioners.model.source import Source
from curator.captioners.vision.processor import ImageAndTokenizer
from schemas.errors import BadOption


def load(source: Source, device: torch.device, dtype: torch.dtype) -> tuple[Any, Any, Any]:
    """Return (config, processor, model on its device). Raises MachineFailed, DoesNotFit."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    with _errors_on_one_line(source.name):
        config = _config(source)
        return config, _processor(source, config), _model(source, config, dtype).to(device).eval()


def _options(source: Source) -> dict[str, Any]:
    revision = {"revision": source.commit} if source.commit else {}
    return {"trust_remote_code": False, **revision}


def _config(source: Source) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(source.location, **_options(source))


def _model(source: Source, config: Any, dtype: torch.dtype) -> Any:
    from transformers import AutoModelForImageTextToText
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise MachineFailed(
            f"{source.name} is a {config.model_type!r} model, which isn't a captioning model of transformers."
        )
    model, info = AutoModelForImageTextToText.from_pretrained(
        source.location, dtype=dtype, output_loading_info=True, **_options(source)
    )
    if missing := sorted(info["missing_keys"]):
        raise MachineFailed(f"{source.name} lacks {len(missing)} of its weights, such as {missing[0]}.")
    return model


def _processor(source: Source, config: Any) -> Any:
    from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer

    if config.model_type == "vision-encoder-decoder":
        options = _options(source)
        images = AutoImageProcessor.from_pretrained(source.location, **options)
        return ImageAndTokenizer(images, AutoTokenizer.from_pretrained(source.location, **options))
    try:
        processor = AutoProcessor.from_pretrained(source.location, **_options(source))
    except ImportError as error:
        processor = _processor_without_video(source, config, error)
    if not hasattr(processor, "tokenizer"):
        raise MachineFailed(f"{source.name} has no processor for images and text, only {type(processor).__name__}.")
    return processor


def _processor_without_video(source: Source, config: Any, problem: ImportError) -> Any:
    """Load the processor without its video part, which may need torchvision (Qwen-VL and others).

    Raises `problem` if the processor has no video part.
    """
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

    processor = PROCESSOR_MAPPING.get(type(config), None)
    if processor is None or "video_processor" not in processor.get_attributes():
        raise problem
    without_video: Any = type(processor.__name__, (_WithoutVideo, processor), {})
    return without_video.from_pretrained(source.location, **_options(source))


class _WithoutVideo:
    @classmethod
    def get_attributes(cls) -> list[str]:
        attributes: list[str] = super().get_attributes()  # type: ignore[misc]
        return [name for name in attributes if name != "video_processor"]


@contextmanager
def _errors_on_one_line(name: str) -> Iterator[None]:
    try:
        yield
    except (MachineFailed, BadOption):
        raise
    except torch.OutOfMemoryError:
        raise DoesNotFit(f"{name} doesn't fit the device's memory: try -o dtype=bfloat16 or a smaller model.") from None
    except ImportError as error:
        raise MachineFailed(_missing_package(name, error)) from None
    except Exception as error:
        raise MachineFailed(_message(name, error)) from None


def _missing_package(name: str, error: ImportError) -> str:
    text = str(error)
    match = re.search(r"requires the ([\w.-]+) library", text) or re.search(r"pip install ([\w.-]+)", text)
    package = error.name or (match[1].lower() if match else None)
    return f"{name} needs the package {package}: pip install {package}" if package else f"{name}: {_first_line(error)}"


def _message(name: str, error: Exception) -> str:
    text = str(error)
    if "trust_remote_code" in text:
        return (
            f"{name} brings its own code, and Amatl runs no code that ships with a model. "
            "Use a version made for transformers itself (its name often ends in -hf)."
        )
    if missing := re.search(r"Missing optional dependencies: ([\w, ]+)\.", text):
        return f"{name} needs the package {missing[1].lower()}: pip install {missing[1].lower()}"
    if "does not recognize this architecture" in text:
        kind = re.search(r"model type `([^`]+)`", text)
        return f"transformers doesn't know {name}'s model type {kind[1] if kind else ''}: try a newer version."
    return f"{name} can't be loaded: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    line = str(error).strip().partition("\n")[0]
    return f"{line} ({type(error).__name__})" if line else type(error).__name__
