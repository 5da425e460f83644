"""Loads a BLIP by the plain transformers classes; whatever is wrong with it is one line that says what to do next."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from curator.captioners.blip.network import Network, from_transformers
from curator.captioners.model import DoesNotFit, MachineFailed
from curator.captioners.model.source import Source
from schemas.errors import BadOption

BICUBIC = 3  # as Pillow numbers it
INSTALL = "pip install 'amatl[captioning]'"


@dataclass(frozen=True)
class Loaded:
    """A network on its device and the tokenizer that goes with it."""

    network: Network
    tokenizer: Any


def load(source: Source, device: torch.device, dtype: torch.dtype) -> Loaded:
    """The model at `source`. Raises MachineFailed saying what is wrong with it, DoesNotFit."""
    with _in_one_line(source):
        from transformers import AutoTokenizer, BlipForConditionalGeneration
        from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        where = {"revision": source.commit} if source.commit else {}
        _check_kind(source, where)
        processor = BlipImageProcessorPil.from_pretrained(source.place, **where)
        tokenizer = AutoTokenizer.from_pretrained(source.place, **where)
        model, found = BlipForConditionalGeneration.from_pretrained(
            source.place, dtype=dtype, output_loading_info=True, **where
        )
        _check_whole(source, model, found, processor, tokenizer)
        model = model.to(device).eval()
        return Loaded(from_transformers(model, *_normalisation(processor)), tokenizer)


def _check_kind(source: Source, where: dict[str, str]) -> None:
    """By its config, before gigabytes of another model are fetched."""
    from transformers.utils import cached_file

    path = cached_file(source.place, "config.json", **where)
    kind = json.loads(Path(str(path)).read_text(encoding="utf-8")).get("model_type")
    if kind != "blip":
        raise MachineFailed(
            f"-o model={source.name}: not a BLIP but a {kind or 'model of no known type'}. "
            "`--strategy vision` takes other models that caption."
        )


def _check_whole(source: Source, model: Any, found: dict[str, Any], processor: Any, tokenizer: Any) -> None:
    if missing := sorted(found["missing_keys"]):
        raise MachineFailed(
            f"-o model={source.name}: a BLIP, but not one that captions: it lacks {len(missing)} weights, "
            f"such as {missing[0]}. Take one made as BlipForConditionalGeneration."
        )
    side = model.config.vision_config.image_size
    size = processor.size
    if (size.get("height"), size.get("width")) != (side, side) or processor.resample != BICUBIC:
        raise MachineFailed(
            f"-o model={source.name}: its preprocessor_config.json doesn't resize to {side}x{side} by bicubic (3), "
            "which the model is made for. Correct it."
        )
    if len(tokenizer) > model.config.text_config.vocab_size:
        raise MachineFailed(
            f"-o model={source.name}: its tokenizer has {len(tokenizer)} tokens, the model knows "
            f"{model.config.text_config.vocab_size}. Copy the folder again, all files of one model."
        )


def _normalisation(processor: Any) -> tuple[list[float], list[float], float]:
    """Mean and deviation of the pixels, and what they are multiplied by first."""
    mean, std = (processor.image_mean, processor.image_std) if processor.do_normalize else ([0.0] * 3, [1.0] * 3)
    return list(mean), list(std), processor.rescale_factor if processor.do_rescale else 1.0


@contextmanager
def _in_one_line(source: Source) -> Iterator[None]:
    """What transformers, safetensors and torch raise on bad files, as one line."""
    try:
        yield
    except (MachineFailed, BadOption):
        raise
    except torch.OutOfMemoryError:
        raise DoesNotFit(f"-o model={source.name}: its weights don't fit the device's memory.") from None
    except ImportError as error:
        raise MachineFailed(f"BLIP needs the package {error.name or 'transformers'}: {INSTALL}.") from error
    except Exception as error:  # OSError, SafetensorError, RuntimeError, JSONDecodeError, KeyError ...
        said = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        again = "Download it again, or give a folder" if source.commit else "Copy the folder again from where it came"
        raise MachineFailed(f"-o model={source.name}: it can't be loaded ({said}). {again}.") from error
