"""BLIP from picture files to captions: what the runner drives (curator.captioners.model.Machine)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from curator.captioners.blip.decoding import Rules
from curator.captioners.blip.engine import Engine
from curator.captioners.blip.load import Loaded, load
from curator.captioners.blip.locate import find_blip
from curator.captioners.blip.options import Options
from curator.captioners.model import DoesNotFit, Item, Written
from curator.captioners.model.device import device_of, dtype_of
from curator.captioners.model.sampling import uniform
from curator.images.read import read_rgb, resized
from schemas.errors import BadOption

ROUNDS = 4  # batches a lane of a GPU gets in one `write`: between two calls it stands still for a moment


class BlipMachine:
    """A loaded BLIP."""

    def __init__(self, loaded: Loaded, options: Options) -> None:
        self.tokenizer, self.options = loaded.tokenizer, options
        self.network = loaded.network
        self.rules = rules_of(loaded, options)
        # As many as were asked for are two batches for each of two lanes: the second is copied while the first is seen.
        size = -(-options.batch_size // 4) if options.batch_size else None
        self.engine = Engine(loaded.network, self.rules, size=size)
        rounds = ROUNDS if loaded.network.device.type == "cuda" else 1
        self.batch_size: int | None = options.batch_size or self.engine.size * self.engine.lane_count * rounds

    def prepare(self, item: Item) -> NDArray[np.uint8]:
        """The picture as the network takes it: uint8 (3, side, side)."""
        side = self.network.side_px
        return resized(read_rgb(item.path, at_least_px=(side, side)), side, side)

    def write(self, items: Sequence[Item], prepared: Sequence[Any]) -> list[Written]:
        try:
            return self.engine.write_as(self._written, prepared, self._numbers(items))
        except torch.OutOfMemoryError as error:
            raise DoesNotFit from error

    def close(self) -> None:
        self.engine.close()

    def _written(self, captions: Sequence[NDArray[np.int64]]) -> list[Written]:
        prompt = len(self.rules.prompt)
        return [
            Written(text, input_tokens=prompt, output_tokens=len(tokens) - prompt)
            for text, tokens in zip(self._texts(captions), captions, strict=True)
        ]

    def _texts(self, captions: Sequence[NDArray[np.int64]]) -> list[str]:
        """Words of tokens, the prompt's taken off where they aren't wanted."""
        texts = self.tokenizer.batch_decode(captions, skip_special_tokens=True)
        if self.options.keep_prompt:
            return [text.strip() for text in texts]
        prompt = self.tokenizer.decode(self.rules.prompt, skip_special_tokens=True)
        return [text.removeprefix(prompt).strip() for text in texts]

    def _numbers(self, items: Sequence[Item]) -> NDArray[np.float32] | None:
        """The draws for sampling, (pictures, steps), each of its picture and step alone."""
        if self.rules.decode != "nucleus":
            return None
        steps, seed = range(self.rules.max_new_tokens), self.options.seed
        return np.array([[uniform(seed, item.image_sha256, step) for step in steps] for item in items], np.float32)


def open_machine(options: Options) -> BlipMachine:
    """Loads the model. Raises NotFound, BadOption, MachineFailed, DoesNotFit, each naming the option at fault."""
    device = device_of(options.device, mps=False)
    return BlipMachine(load(find_blip(options), device, dtype_of(options.dtype, device)), options)


def rules_of(loaded: Loaded, options: Options) -> Rules:
    """The options as rules over tokens. Raises BadOption where the caption wouldn't fit the decoder's places."""
    words = loaded.tokenizer(options.prompt, add_special_tokens=False)["input_ids"] if options.prompt else []
    rules = Rules(
        prompt=(loaded.network.begin_token, *words),
        decode=options.decode,
        num_beams=options.num_beams,
        length_penalty=options.length_penalty,
        top_p=options.top_p,
        temperature=options.temperature,
        min_new_tokens=options.min_new_tokens,
        max_new_tokens=options.max_new_tokens,
        repetition_penalty=options.repetition_penalty,
    )
    room = loaded.network.longest - len(rules.prompt)
    if room < 1:
        raise BadOption(
            f"-o prompt: {len(words)} tokens, and the model has places for {loaded.network.longest}, the caption's "
            "among them. Shorten it."
        )
    if rules.max_new_tokens > room:
        raise BadOption(
            f"-o max_new_tokens={options.max_new_tokens}: the model has places for {loaded.network.longest} tokens, "
            f"{len(rules.prompt)} of them taken by the prompt. Use at most {room}."
        )
    return rules
