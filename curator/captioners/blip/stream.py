"""A batch's memory on the device, and the work on it: pixels up, vision tower, steps of decoding, captions down.

On CUDA a lane has a stream of its own, pinned memory beside the device's, and the work recorded as CUDA graphs: one for
the tower, one for every few steps. Between graphs the lane tells whether all captions have ended; nobody waits for the
device within. On the CPU the same work runs as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from curator.captioners.blip.beam_search import Beams
from curator.captioners.blip.cuda_graphs import Work, record
from curator.captioners.blip.decoding import OneByOne, Rules, Writer
from curator.captioners.blip.network import Network


class Lane:
    """`size` pictures at once; rows without one are computed too and cost the same.

    Call in this order, then again: `put`, `send`, until not `advance`: when `ready`; `take`. `put` may already be
    called for the next batch once `sent`.
    """

    def __init__(
        self,
        network: Network,
        rules: Rules,
        size: int,
        *,
        seen_at_once: int,
        steps_at_once: int,
        graphs: bool = True,
    ) -> None:
        """`seen_at_once` pictures go through the tower together, `steps_at_once` tokens are written between looks at
        whether all captions ended.
        """
        self.network, self.size, self.seen_at_once = network, size, seen_at_once
        on_cuda = network.device.type == "cuda"
        self.stream = torch.cuda.Stream(network.device) if on_cuda else None  # type: ignore[no-untyped-call]
        self._make_room(rules, on_cuda)
        firsts = range(0, rules.max_new_tokens, steps_at_once)
        pieces = [range(first, min(first + steps_at_once, rules.max_new_tokens)) for first in firsts]
        works: list[Work] = [self._see, *(partial(self._steps, piece) for piece in pieces)]
        self.tower_work, *self.step_works = self._on_stream(works, graphs)
        self.steps_done = 0
        self.count = self.count_put = 0

    def _make_room(self, rules: Rules, pinned: bool) -> None:
        """Everything that lasts from one call to the next, and its twin in memory the device can fetch from."""
        network, size, device = self.network, self.size, self.network.device
        side = network.side_px
        new: Any = partial(torch.zeros, pin_memory=pinned)
        self.put_pixels = new(size, 3, side, side, dtype=torch.uint8)
        self.put_numbers = new(size, rules.max_new_tokens)
        self.put_absent = new(size, dtype=torch.bool)
        self.finished = new((), dtype=torch.bool)
        self.taken = new(size, rules.length, dtype=torch.int64)
        self.pixels = torch.zeros_like(self.put_pixels, device=device)
        self.numbers = torch.zeros_like(self.put_numbers, device=device)
        self.absent = torch.zeros_like(self.put_absent, device=device)
        self.image_memory = network.decoder.memory(size, network.image_tokens)
        self.writer: Writer
        if rules.decode == "beam":
            self.writer = Beams(network, rules, self.image_memory)
        else:
            self.writer = OneByOne(network, rules, self.image_memory, self.numbers)
        self.sending = torch.cuda.Event() if pinned else None  # type: ignore[no-untyped-call]
        self.working = torch.cuda.Event() if pinned else None  # type: ignore[no-untyped-call]

    def _on_stream(self, works: list[Work], graphs: bool) -> list[Work]:
        if self.stream is None:
            return works
        torch.cuda.synchronize()  # the weights, made on another stream
        return record(works, self.stream) if graphs else works

    def _see(self) -> None:
        """All pictures through the tower, a part at a time: its own memory is the largest there is."""
        for first in range(0, self.size if self.stream else self.count, self.seen_at_once):
            part = slice(first, first + self.seen_at_once)
            self.network.decoder.look(self.network.tower(self.pixels[part]), self.image_memory[:, :, part])

    def _steps(self, steps: range) -> None:
        if steps.start == 0:
            self.writer.start(self.absent)
        for step in steps:
            self.writer.step(step)

    def put(self, pictures: Sequence[NDArray[np.uint8]], numbers: NDArray[np.float32] | None) -> None:
        """Copies up to `size` pictures (3, side, side), and the draws (B, steps) for sampling, to where `send` goes.

        May be called on another thread. The pixels go in one call, which leaves the interpreter to others meanwhile.
        """
        self.count_put = count = len(pictures)
        with torch.inference_mode():
            torch.stack(
                [torch.from_numpy(np.ascontiguousarray(picture)) for picture in pictures], out=self.put_pixels[:count]
            )
            self.put_absent[:count], self.put_absent[count:] = False, True
            if numbers is not None:
                self.put_numbers[:count] = torch.from_numpy(np.ascontiguousarray(numbers))

    def send(self) -> None:
        """Starts the batch that was put: the tower and the first steps."""
        self.count = self.count_put
        with self._stream():
            self.pixels.copy_(self.put_pixels, non_blocking=True)
            self.numbers.copy_(self.put_numbers, non_blocking=True)
            self.absent.copy_(self.put_absent, non_blocking=True)
            if self.sending:
                self.sending.record()
            self.tower_work()
        self.steps_done = 0
        self._start_steps()

    def sent(self) -> bool:
        """Whether the pictures have left the memory that `put` fills."""
        return self.sending is None or bool(self.sending.query())  # type: ignore[no-untyped-call]

    def ready(self) -> bool:
        """Whether the device has done what it was last given."""
        return self.working is None or bool(self.working.query())  # type: ignore[no-untyped-call]

    def advance(self) -> bool:
        """Starts the next steps; False where there is nothing left to do."""
        if self.steps_done == len(self.step_works) or bool(self.finished):
            return False
        self._start_steps()
        return True

    def take(self) -> NDArray[np.int64]:
        """The captions' tokens (B, L), the prompt's first; after the end token anything may stand."""
        tokens: NDArray[np.int64] = self.taken[: self.count].numpy().copy()
        return tokens

    def _start_steps(self) -> None:
        with self._stream():
            self.step_works[self.steps_done]()
            self.finished.copy_(self.writer.finished, non_blocking=True)
            self.taken.copy_(self.writer.captions(), non_blocking=True)
            if self.working:
                self.working.record()
        self.steps_done += 1

    def _stream(self) -> Any:
        return torch.cuda.stream(self.stream) if self.stream else nullcontext()
