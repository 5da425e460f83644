"""BLIP as a `CaptionModel`: from image files to captions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from curator.captioners.blip.decoding import Decoding
from curator.captioners.blip.engine import Engine
from curator.captioners.blip.load import Loaded, load
from curator.captioners.blip.locate import find_blip
from curator.captioners.blip.options import Options
from curator.captioners.model import DoesNotFit, Item, Output
from curator.captioners.model.device import choose_device, choose_dtype
from curator.captioners.model.sampling import uniform
from curator.images.read import read_rgb, resized
from schemas.errors import BadOption

ROUNDS = 4  # batches of each GPU stream in one `generate`, since the GPU idles between two calls


class BlipModel:
    def __init__(self, loaded: Loaded, options: Options) -> None:
        self.tokenizer, self.options = loaded.tokenizer, options
        self.network = loaded.network
        self.decoding = decoding_of(loaded, options)
        # A requested batch gives each of two streams two batches: one is copied while the other is encoded.
        size = -(-options.batch_size // 4) if options.batch_size else None
        self.engine = Engine(loaded.network, self.decoding, size=size)
        rounds = ROUNDS if loaded.network.device.type == "cuda" else 1
        self.batch_size: int | None = options.batch_size or self.engine.size * self.engine.stream_count * rounds

    def preprocess(self, item: Item) -> NDArray[np.uint8]:
        side = self.network.side_px
        return resized(read_rgb(item.path, at_least_px=(side, side)), side, side)

    def generate(self, items: Sequence[Item], prepared: Sequence[Any]) -> list[Output]:
        try:
            return self.engine.generate_as(self._outputs, prepared, self._uniforms(items))
        except torch.OutOfMemoryError as error:
            raise DoesNotFit from error

    def close(self) -> None:
        self.engine.close()

    def _outputs(self, captions: Sequence[NDArray[np.int64]]) -> list[Output]:
        prompt = len(self.decoding.prompt)
        return [
            Output(text, input_tokens=prompt, output_tokens=len(tokens) - prompt)
            for text, tokens in zip(self._texts(captions), captions, strict=True)
        ]

    def _texts(self, captions: Sequence[NDArray[np.int64]]) -> list[str]:
        texts = self.tokenizer.batch_decode(captions, skip_special_tokens=True)
        if self.options.keep_prompt:
            return [text.strip() for text in texts]
        prompt = self.tokenizer.decode(self.decoding.prompt, skip_special_tokens=True)
        return [text.removeprefix(prompt).strip() for text in texts]

    def _uniforms(self, items: Sequence[Item]) -> NDArray[np.float32] | None:
        """Return random numbers in [0, 1) for sampling, (images, steps), keyed by image and step."""
        if self.decoding.decode != "nucleus":
            return None
        steps, seed = range(self.decoding.max_new_tokens), self.options.seed
        return np.array([[uniform(seed, item.image_sha256, step) for step in steps] for item in items], np.float32)


def load_model(options: Options) -> BlipModel:
    """Load the model. Raises NotFound, BadOption, MachineFailed, DoesNotFit, each naming the option at fault."""
    device = choose_device(options.device, mps=False)
    return BlipModel(load(find_blip(options), device, choose_dtype(options.dtype, device)), options)


def decoding_of(loaded: Loaded, options: Options) -> Decoding:
    """Convert the options. Raises BadOption if prompt and caption exceed the decoder's length."""
    words = loaded.tokenizer(options.prompt, add_special_tokens=False)["input_ids"] if options.prompt else []
    decoding = Decoding(
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
    limit = loaded.network.max_text_tokens
    most = limit - len(decoding.prompt)
    if most < 1:
        raise BadOption(
            f"-o prompt: {len(words)} tokens, but the model takes {limit} for prompt and caption. Shorten the prompt."
        )
    if decoding.max_new_tokens > most:
        raise BadOption(
            f"-o max_new_tokens={options.max_new_tokens}: the model takes {limit} tokens, and the prompt has "
            f"{len(decoding.prompt)}. Use at most {most}."
        )
    return decoding
