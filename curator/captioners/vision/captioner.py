"""The caption model of the strategy `vision`: threads build the inputs, the model generates in batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from curator.captioners.model import DoesNotFit, Item, MachineFailed, Output
from curator.captioners.model.answer import parse_answer
from curator.captioners.model.downscale import downscaled
from curator.captioners.model.prompt import field_names, fill_prompt
from curator.captioners.vision.collate import TOKENS, Inputs, Padding, groups, stack
from curator.captioners.vision.options import Options
from curator.captioners.vision.processor import PromptedProcessor
from curator.captioners.vision.sampling import NucleusSampler, Overflow

NEVER_PADDED = {"blip", "kosmos-2", "pix2struct"}
"""Families that may not support padded prompts: only prompts of equal length are stacked."""
NAMES_ITS_OWN_TOKENS = {"blip"}
"""Families whose `generate` passes its own end and pad tokens, and accepts no others."""
OVERFLOWS = "the model's numbers overflow: try -o dtype=bfloat16 or float32"


class VisionModel:
    def __init__(self, options: Options, processor: PromptedProcessor, model: Any) -> None:
        self.options, self.processor, self.model = options, processor, model
        self.batch_size = options.batch_size
        self.padding = _padding(model.config)
        self._ends = _end_tokens(model, processor.tokenizer)
        self._pad_token = _pad_token(processor.tokenizer, self._ends)
        self._has_succeeded = False

    def preprocess(self, item: Item) -> Inputs:
        prompt = fill_prompt(self.options.prompt, item.fields)
        return self.processor.inputs(downscaled(item.path, max_pixels=self.options.max_pixels), prompt)

    def generate(self, items: Sequence[Item], prepared: Sequence[Inputs]) -> list[Output]:
        """Caption inputs of equal shape together; the result doesn't depend on the grouping."""
        outputs: dict[int, Output] = {}
        for indices in groups(prepared, self.padding):
            sha256s = [items[index].image_sha256 for index in indices]
            group = self._generate_group(sha256s, [prepared[index] for index in indices])
            outputs.update(zip(indices, group, strict=True))
        return [outputs[index] for index in range(len(items))]

    def close(self) -> None:
        self.model = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _generate_group(self, sha256s: list[str], inputs: list[Inputs]) -> list[Output]:
        """Caption one group; if it fails, caption its images one by one."""
        try:
            outputs = self._decode(sha256s, inputs)
            self._has_succeeded = True
            return outputs
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            raise DoesNotFit from None
        except RuntimeError as error:
            if "can't allocate memory" in str(error):
                raise DoesNotFit from None
            return self._one_by_one(sha256s, inputs, error)
        except (ValueError, TypeError, IndexError) as error:
            return self._one_by_one(sha256s, inputs, error)

    def _one_by_one(self, sha256s: list[str], inputs: list[Inputs], error: Exception) -> list[Output]:
        """Raise MachineFailed if no image ever succeeded or the device failed."""
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        if "CUDA error" in reason or (len(inputs) == 1 and not self._has_succeeded):
            raise MachineFailed(f"{self.processor.name} can't caption an image. {reason}") from error
        if len(inputs) == 1:
            return [Output(None, f"the model failed at it ({reason})")]
        return [self._generate_group([sha], [one])[0] for sha, one in zip(sha256s, inputs, strict=True)]

    def _decode(self, sha256s: list[str], inputs: list[Inputs]) -> list[Output]:
        batch = stack(inputs, self.padding, self._pad_token)
        batch = {name: self._on_device(value) for name, value in batch.items()}
        overflow = Overflow()
        processors: list[Any] = [overflow]
        if self.options.decode == "nucleus":
            options = self.options
            processors.append(NucleusSampler(options.seed, sha256s, options.temperature, options.top_p))
        with torch.inference_mode():
            tokens_BL = self.model.generate(**batch, logits_processor=processors, **self._generation_options())
        rows = self._new_tokens(tokens_BL, batch)
        beams = len(overflow.rows) // len(rows) or 1
        input_tokens = [int(one[TOKENS].numel()) if TOKENS in one else 0 for one in inputs]
        return [
            Output(None, OVERFLOWS) if overflow.rows[index * beams] else self._output(row, input_tokens[index])
            for index, row in enumerate(rows)
        ]

    def _generation_options(self) -> dict[str, Any]:
        """Return the decoding options; penalties and forced tokens stay the model's own."""
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
        prompt_BL = batch.get("decoder_input_ids" if self.model.config.is_encoder_decoder else TOKENS)
        length = 0 if prompt_BL is None else prompt_BL.shape[1]
        if prompt_BL is not None and torch.equal(tokens_BL[:, :length], prompt_BL):
            tokens_BL = tokens_BL[:, length:]
        elif self.model.config.is_encoder_decoder:
            tokens_BL = tokens_BL[:, 1 + length :]
        return [self._up_to_the_end(row) for row in tokens_BL.tolist()]

    def _up_to_the_end(self, row: list[int]) -> list[int]:
        ends = [index for index, token in enumerate(row) if token in self._ends]
        return row[: ends[0] + 1] if ends else row

    def _output(self, row: list[int], input_tokens: int) -> Output:
        limit = self.options.max_new_tokens
        cut = len(row) >= limit and row[-1] not in self._ends
        answer = self.processor.decode(row)
        text, reason = parse_answer(answer, cut, self.options.unfinished, f"max_new_tokens={limit}")
        return Output(text, reason, input_tokens, len(row))


def load_model(options: Options) -> VisionModel:
    from curator.captioners.model.device import choose_device, choose_dtype
    from curator.captioners.model.source import find_source
    from curator.captioners.vision.load import load

    source = find_source(options.model, options.revision)
    device = choose_device(options.device)
    config, processor, model = load(source, device, choose_dtype(options.dtype, device))
    example = fill_prompt(options.prompt, dict.fromkeys(field_names(options.prompt), "x"))
    prompted = PromptedProcessor(source.name, processor, config, options.system, example)
    return VisionModel(options, prompted, model)


def _padding(config: Any) -> Padding:
    if config.is_encoder_decoder:
        return "right"
    return "none" if config.model_type in NEVER_PADDED else "left"


def _end_tokens(model: Any, tokenizer: Any) -> set[int]:
    generation = model.generation_config.eos_token_id
    ends = generation if isinstance(generation, list) else [generation]
    text = getattr(model.config.get_text_config(decoder=True), "eos_token_id", None)
    ends = [*ends, tokenizer.eos_token_id, text if isinstance(text, int) else None]
    return {int(token) for token in ends if token is not None}


def _pad_token(tokenizer: Any, ends: set[int]) -> int:
    return int(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(ends, default=0))
