"""Load a BLIP by transformers. Each error is one line with the next step."""

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
    network: Network
    tokenizer: Any


def load(source: Source, device: torch.device, dtype: torch.dtype) -> Loaded:
    with _errors_on_one_line(source):
        from transformers import AutoTokenizer, BlipForConditionalGeneration
        from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        revision = {"revision": source.commit} if source.commit else {}
        _check_kind(source, revision)
        processor = BlipImageProcessorPil.from_pretrained(source.location, **revision)
        tokenizer = AutoTokenizer.from_pretrained(source.location, **revision)
        model, info = BlipForConditionalGeneration.from_pretrained(
            source.location, dtype=dtype, output_loading_info=True, **revision
        )
        _check_complete(source, model, info, processor, tokenizer)
        model = model.to(device).eval()
        return Loaded(from_transformers(model, *_normalisation(processor)), tokenizer)


def _check_kind(source: Source, revision: dict[str, str]) -> None:
    """Check config.json before gigabytes of another model are downloaded."""
    from transformers.utils import cached_file

    path = cached_file(source.location, "config.json", **revision)
    kind = json.loads(Path(str(path)).read_text(encoding="utf-8")).get("model_type")
    if kind != "blip":
        raise MachineFailed(
            f"-o model={source.name}: not a BLIP but a {kind or 'model of unknown type'}. "
            "Use --strategy vision for other captioning models."
        )


def _check_complete(source: Source, model: Any, info: dict[str, Any], processor: Any, tokenizer: Any) -> None:
    if missing := sorted(info["missing_keys"]):
        raise MachineFailed(
            f"-o model={source.name}: a BLIP that can't caption: it lacks {len(missing)} weights, "
            f"such as {missing[0]}. Use a BlipForConditionalGeneration."
        )
    side = model.config.vision_config.image_size
    size = processor.size
    if (size.get("height"), size.get("width")) != (side, side) or processor.resample != BICUBIC:
        raise MachineFailed(
            f"-o model={source.name}: its preprocessor_config.json doesn't resize to {side}x{side} by bicubic (3), "
            "as the model needs. Correct it."
        )
    if len(tokenizer) > model.config.text_config.vocab_size:
        raise MachineFailed(
            f"-o model={source.name}: its tokenizer has {len(tokenizer)} tokens, the model only "
            f"{model.config.text_config.vocab_size}. Copy the folder again, with all files of one model."
        )


def _normalisation(processor: Any) -> tuple[list[float], list[float], float]:
    """Return mean and deviation of the pixels, and the factor applied to pixels before."""
    mean, std = (processor.image_mean, processor.image_std) if processor.do_normalize else ([0.0] * 3, [1.0] * 3)
    return list(mean), list(std), processor.rescale_factor if processor.do_rescale else 1.0


@contextmanager
def _errors_on_one_line(source: Source) -> Iterator[None]:
    try:
        yield
    except (MachineFailed, BadOption):
        raise
    except torch.OutOfMemoryError:
        raise DoesNotFit(f"-o model={source.name}: its weights don't fit the device's memory.") from None
    except ImportError as error:
        raise MachineFailed(f"BLIP needs the package {error.name or 'transformers'}: {INSTALL}.") from error
    except Exception as error:  # OSError, SafetensorError, RuntimeError, JSONDecodeError, KeyError ...
        reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        advice = "Download it again, or give a folder" if source.commit else "Copy the folder again"
        raise MachineFailed(f"-o model={source.name}: can't be loaded ({reason}). {advice}.") from error
