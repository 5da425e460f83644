"""A batch on the device: its memory, and its work from pixels over vision tower and decoding steps to tokens.

On CUDA a stream has a CUDA stream, pinned host memory, and CUDA graphs of its work: one for the tower, one for every
few steps. Between graphs the host checks whether all captions have ended. On the CPU the same work runs directly.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from curator.captioners.blip.beam_search import BeamSearch
from curator.captioners.blip.cuda_graphs import Work, record
from curator.captioners.blip.decoding import Decoding, GreedyOrNucleus, Search
from curator.captioners.blip.network import Network


class Stream:
    """Captions `size` images at once; rows without an image cost the same.

    For each batch call `put`, then `send`, then `advance` whenever `ready` until it returns False, then `take`. Once
    `sent`, `put` may be called for the next batch.
    """

    def __init__(
        self,
        network: Network,
        decoding: Decoding,
        size: int,
        *,
        images_at_once: int,
        steps_at_once: int,
        graphs: bool = True,
    ) -> None:
        """`images_at_once`: images of a pass through the tower; `steps_at_once`: tokens between checks for the end."""
        self.network, self.size, self.images_at_once = network, size, images_at_once
        on_cuda = network.device.type == "cuda"
        self.cuda_stream = torch.cuda.Stream(network.device) if on_cuda else None  # type: ignore[no-untyped-call]
        self._allocate(decoding, on_cuda)
        firsts = range(0, decoding.max_new_tokens, steps_at_once)
        pieces = [range(first, min(first + steps_at_once, decoding.max_new_tokens)) for first in firsts]
        works: list[Work] = [self._encode, *(partial(self._steps, piece) for piece in pieces)]
        self.tower_work, *self.step_works = self._recorded(works, graphs)
        self.steps_done = 0
        self.count = self.count_put = 0

    def _allocate(self, decoding: Decoding, pinned: bool) -> None:
        """Allocate the tensors that outlast a call, on the device and (names with `put_`) in pinned host memory."""
        network, size, device = self.network, self.size, self.network.device
        side = network.side_px
        new: Any = partial(torch.zeros, pin_memory=pinned)
        self.put_pixels = new(size, 3, side, side, dtype=torch.uint8)
        self.put_uniforms = new(size, decoding.max_new_tokens)
        self.put_absent = new(size, dtype=torch.bool)
        self.finished = new((), dtype=torch.bool)
        self.tokens = new(size, decoding.length, dtype=torch.int64)
        self.pixels = torch.zeros_like(self.put_pixels, device=device)
        self.uniforms = torch.zeros_like(self.put_uniforms, device=device)
        self.absent = torch.zeros_like(self.put_absent, device=device)
        self.image_cache = network.decoder.new_cache(size, network.image_tokens)
        self.search: Search
        if decoding.decode == "beam":
            self.search = BeamSearch(network, decoding, self.image_cache)
        else:
            self.search = GreedyOrNucleus(network, decoding, self.image_cache, self.uniforms)
        self.sent_event = torch.cuda.Event() if pinned else None  # type: ignore[no-untyped-call]
        self.ready_event = torch.cuda.Event() if pinned else None  # type: ignore[no-untyped-call]

    def _recorded(self, works: list[Work], graphs: bool) -> list[Work]:
        if self.cuda_stream is None:
            return works
        torch.cuda.synchronize()  # the weights were made on another stream
        return record(works, self.cuda_stream) if graphs else works

    def _encode(self) -> None:
        """Run the tower in parts, since its activations need the most memory."""
        for first in range(0, self.size if self.cuda_stream else self.count, self.images_at_once):
            part = slice(first, first + self.images_at_once)
            self.network.decoder.encode_images(self.network.tower(self.pixels[part]), self.image_cache[:, :, part])

    def _steps(self, steps: range) -> None:
        if steps.start == 0:
            self.search.start(self.absent)
        for step in steps:
            self.search.step(step)

    def put(self, images: Sequence[NDArray[np.uint8]], uniforms: NDArray[np.float32] | None) -> None:
        """Copy up to `size` images (3, side, side) and random numbers (B, steps) to the memory that `send` reads.

        May be called on another thread. The pixels go in one call, which releases the interpreter meanwhile.
        """
        self.count_put = count = len(images)
        with torch.inference_mode():
            torch.stack(
                [torch.from_numpy(np.ascontiguousarray(image)) for image in images], out=self.put_pixels[:count]
            )
            self.put_absent[:count], self.put_absent[count:] = False, True
            if uniforms is not None:
                self.put_uniforms[:count] = torch.from_numpy(np.ascontiguousarray(uniforms))

    def send(self) -> None:
        self.count = self.count_put
        with self.current():
            self.pixels.copy_(self.put_pixels, non_blocking=True)
            self.uniforms.copy_(self.put_uniforms, non_blocking=True)
            self.absent.copy_(self.put_absent, non_blocking=True)
            if self.sent_event:
                self.sent_event.record()
            self.tower_work()
        self.steps_done = 0
        self._start_steps()

    def sent(self) -> bool:
        return self.sent_event is None or bool(self.sent_event.query())  # type: ignore[no-untyped-call]

    def ready(self) -> bool:
        return self.ready_event is None or bool(self.ready_event.query())  # type: ignore[no-untyped-call]

    def advance(self) -> bool:
        if self.steps_done == len(self.step_works) or bool(self.finished):
            return False
        self._start_steps()
        return True

    def take(self) -> NDArray[np.int64]:
        """Return the tokens (B, L), prompt first. Tokens after the end token are undefined."""
        tokens_BL: NDArray[np.int64] = self.tokens[: self.count].numpy().copy()
        return tokens_BL

    def _start_steps(self) -> None:
        with self.current():
            self.step_works[self.steps_done]()
            self.finished.copy_(self.search.finished, non_blocking=True)
            self.tokens.copy_(self.search.captions(), non_blocking=True)
            if self.ready_event:
                self.ready_event.record()
        self.steps_done += 1

    def current(self) -> Any:
        return torch.cuda.stream(self.cuda_stream) if self.cuda_stream else nullcontext()
