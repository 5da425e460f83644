"""The machine of the strategy `vision`: threads make pictures and prompts ready, a model generates in batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from curator.captioners.model import DoesNotFit, Item, MachineFailed, Written
from curator.captioners.model.answer import caption_of
from curator.captioners.model.downscale import small_picture
from curator.captioners.model.prompt import field_names, render
from curator.captioners.vision.collate import TOKENS, Inputs, Padding, groups, stack
from curator.captioners.vision.options import Options
from curator.captioners.vision.processor import Reader
from curator.captioners.vision.sampling import Draws, Overflow

NEVER_PADDED = {"blip", "kosmos-2", "pix2struct"}
"""Families that may not bear a padded prompt: only prompts of one length are stacked."""
NAMES_ITS_OWN_TOKENS = {"blip"}
"""Families whose `generate` takes no tokens that end and pad: it gives its own."""
OVERFLOWS = "the model's numbers overflow: try -o dtype=bfloat16 or float32"


class VisionMachine:
    """A vision-language model on its device. See curator.captioners.model.Machine."""

    def __init__(self, options: Options, reader: Reader, model: Any) -> None:
        self.options, self.reader, self.model = options, reader, model
        self.batch_size = options.batch_size
        self.padding = _padding(model.config)
        self._ends = _end_tokens(model, reader.tokenizer)
        self._pad_token = _pad_token(reader.tokenizer, self._ends)
        self._has_written = False

    def prepare(self, item: Item) -> Inputs:
        """Reads the picture, and asks about it in the model's own way."""
        prompt = render(self.options.prompt, item.fields)
        return self.reader.inputs(small_picture(item.path, max_pixels=self.options.max_pixels), prompt)

    def write(self, items: Sequence[Item], prepared: Sequence[Inputs]) -> list[Written]:
        """Pictures of one shape together; each is decoded as if it were alone."""
        written: dict[int, Written] = {}
        for places in groups(prepared, self.padding):
            answers = self._generated([items[place].image_sha256 for place in places], [prepared[at] for at in places])
            written.update(zip(places, answers, strict=True))
        return [written[place] for place in range(len(items))]

    def close(self) -> None:
        self.model = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _generated(self, sha256s: list[str], inputs: list[Inputs]) -> list[Written]:
        """One group; where it fails, each picture by itself, so that a picture's failure is its own."""
        try:
            answers = self._decoded(sha256s, inputs)
            self._has_written = True
            return answers
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            raise DoesNotFit from None
        except RuntimeError as error:
            if "can't allocate memory" in str(error):
                raise DoesNotFit from None
            return self._one_by_one(sha256s, inputs, error)
        except (ValueError, TypeError, IndexError) as error:
            return self._one_by_one(sha256s, inputs, error)

    def _one_by_one(self, sha256s: list[str], inputs: list[Inputs], error: Exception) -> list[Written]:
        """Raises MachineFailed where nothing was ever written, or the device itself is at fault."""
        said = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        if "CUDA error" in said or (len(inputs) == 1 and not self._has_written):
            raise MachineFailed(f"{self.reader.name} can't write of a picture. {said}") from error
        if len(inputs) == 1:
            return [Written(None, f"the model failed at it ({said})")]
        return [self._generated([sha], [one])[0] for sha, one in zip(sha256s, inputs, strict=True)]

    def _decoded(self, sha256s: list[str], inputs: list[Inputs]) -> list[Written]:
        batch = stack(inputs, self.padding, self._pad_token)
        batch = {name: self._on_device(value) for name, value in batch.items()}
        overflow = Overflow()
        processors: list[Any] = [overflow]
        if self.options.decode == "nucleus":
            options = self.options
            processors.append(Draws(options.seed, sha256s, options.temperature, options.top_p))
        with torch.inference_mode():
            tokens_BL = self.model.generate(**batch, logits_processor=processors, **self._how())
        rows = self._new_tokens(tokens_BL, batch)
        beams = len(overflow.rows) // len(rows) or 1
        asked = [int(one[TOKENS].numel()) if TOKENS in one else 0 for one in inputs]
        return [
            Written(None, OVERFLOWS) if overflow.rows[place * beams] else self._written(row, asked[place])
            for place, row in enumerate(rows)
        ]

    def _how(self) -> dict[str, Any]:
        """What it decodes by; penalties and forced tokens are the model's own."""
        beams = self.options.num_beams if self.options.decode == "beam" else 1
        tokens = {"pad_token_id": self._pad_token, "eos_token_id": sorted(self._ends) or None}
        return {
            "max_new_tokens": self.options.max_new_tokens,
            "num_beams": beams,
            "do_sample": False,
            "temperature": None,
            "top_p": None,
            "top_k": None,
            **({} if self.model.config.model_type in NAMES_ITS_OWN_TOKENS else tokens),
        }

    def _on_device(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        dtype = self.model.dtype if value.is_floating_point() else None
        return value.to(self.model.device, dtype, non_blocking=True)

    def _new_tokens(self, tokens_BL: Tensor, batch: Mapping[str, Any]) -> list[list[int]]:
        """Each row without prompt, start token, and what comes after its end."""
        prompt_BL = batch.get("decoder_input_ids" if self.model.config.is_encoder_decoder else TOKENS)
        length = 0 if prompt_BL is None else prompt_BL.shape[1]
        if prompt_BL is not None and torch.equal(tokens_BL[:, :length], prompt_BL):
            tokens_BL = tokens_BL[:, length:]
        elif self.model.config.is_encoder_decoder:
            tokens_BL = tokens_BL[:, 1 + length :]
        return [self._up_to_the_end(row) for row in tokens_BL.tolist()]

    def _up_to_the_end(self, row: list[int]) -> list[int]:
        ends = [place for place, token in enumerate(row) if token in self._ends]
        return row[: ends[0] + 1] if ends else row

    def _written(self, row: list[int], asked: int) -> Written:
        limit = self.options.max_new_tokens
        cut = len(row) >= limit and row[-1] not in self._ends
        answer = self.reader.words(row)
        text, reason = caption_of(answer, cut, self.options.unfinished, f"max_new_tokens={limit}")
        return Written(text, reason, asked, len(row))


def open_machine(options: Options) -> VisionMachine:
    """Finds and loads the model. Raises NotFound, BadOption, MachineFailed, DoesNotFit."""
    from curator.captioners.model.device import device_of, dtype_of
    from curator.captioners.model.source import find_source
    from curator.captioners.vision.load import load

    source = find_source(options.model, options.revision)
    device = device_of(options.device)
    config, processor, model = load(source, device, dtype_of(options.dtype, device))
    example = render(options.prompt, dict.fromkeys(field_names(options.prompt), "x"))
    reader = Reader(source.name, processor, config, options.system, example)
    return VisionMachine(options, reader, model)


def _padding(config: Any) -> Padding:
    if config.is_encoder_decoder:
        return "right"
    return "none" if config.model_type in NEVER_PADDED else "left"


def _end_tokens(model: Any, tokenizer: Any) -> set[int]:
    """Every token that ends an answer: those of the generation configuration, and the tokenizer's own."""
    found = model.generation_config.eos_token_id
    ends = found if isinstance(found, list) else [found]
    own = getattr(model.config.get_text_config(decoder=True), "eos_token_id", None)
    ends = [*ends, tokenizer.eos_token_id, own if isinstance(own, int) else None]
    return {int(token) for token in ends if token is not None}


def _pad_token(tokenizer: Any, ends: set[int]) -> int:
    return int(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(ends, default=0))
