"""Pictures through BLIP: cut into batches of fixed size, through lanes that work side by side.

Two lanes on a GPU: while one decodes, which waits for memory, the other's tower has the arithmetic units; and while
both work, the next pictures are copied. On the CPU one lane, and captions don't depend on the batch, to the last bit: a
picture goes through the tower alone, and through the decoder among a fixed number of rows. That a row's arithmetic is
the same in every place of such a batch is not taken on trust: it is tried when the engine is made, and where it isn't
so, rows are decoded one by one.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from threading import Event
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from curator.captioners.blip.decoding import Rules, read_step
from curator.captioners.blip.network import Network
from curator.captioners.blip.stream import Lane

Made = TypeVar("Made")
CPU_PICTURES = 32
CPU_BYTES = 400_000_000  # for what a lane keeps; no more pictures than fit in it, but one
GPU_PICTURES = 256  # So many share a reading of the decoder's weights; what the image's keys cost grows with them.
GPU_SEEN_AT_ONCE = 64
GPU_STEPS_AT_ONCE = 5  # Captions that end early save the steps that are left; fewer at once cost more launches.
GPU_LANES = 2
GPU_SHARE = 0.6  # of the free memory, for what the lanes keep; the tower's passing needs and others' have the rest
LOOK_AGAIN_S = 0.0002


class Engine:
    """A network and rules, ready for any number of pictures. Raises torch.OutOfMemoryError where one doesn't fit."""

    def __init__(
        self,
        network: Network,
        rules: Rules,
        *,
        size: int | None = None,
        lanes: int | None = None,
        graphs: bool = True,
    ) -> None:
        """On a GPU `size` pictures a lane, at most; None: as it likes. Memory is taken with the first pictures.

        On the CPU `size` changes nothing: of another number of rows the sums may round in another way.
        """
        self.network, self.rules = network, rules
        on_cuda = network.device.type == "cuda"
        self.size = min((size or GPU_PICTURES) if on_cuda else CPU_PICTURES, pictures_that_fit(network, rules))
        if not on_cuda and not rows_are_alike(network, rules, self.size):
            self.size = 1
        self.lane_count = (lanes or GPU_LANES) if on_cuda else 1
        self.seen_at_once = GPU_SEEN_AT_ONCE if on_cuda else 1
        self.steps_at_once = GPU_STEPS_AT_ONCE if on_cuda else 1
        self.graphs = graphs
        self.lanes: list[Lane] = []
        self._copying = ThreadPoolExecutor(1, thread_name_prefix="copy") if on_cuda else None

    def write(
        self, pictures: Sequence[NDArray[np.uint8]], numbers: NDArray[np.float32] | None = None
    ) -> list[NDArray[np.int64]]:
        """The tokens of each picture's caption, the prompt's and the end token included.

        `pictures` are uint8 (3, side, side); `numbers` the draws for sampling, (pictures, steps).
        """
        return self.write_as(lambda captions: captions, pictures, numbers)

    def write_as(
        self,
        made_of: Callable[[list[NDArray[np.int64]]], Sequence[Made]],
        pictures: Sequence[NDArray[np.uint8]],
        numbers: NDArray[np.float32] | None = None,
    ) -> list[Made]:
        """As `write`, with what `made_of` makes of the tokens, some pictures at a time, while the device goes on."""
        while True:
            try:
                with torch.inference_mode(), self._device():
                    return self._write(made_of, pictures, numbers)
            except torch.OutOfMemoryError:
                if self.size == 1:
                    raise
            # Not within `except`: the error's traceback holds the memory that is to be freed.
            self.free()
            self.size //= 2

    def free(self) -> None:
        """Gives the lanes' memory back; the next pictures take new."""
        self.lanes.clear()
        if self.network.device.type == "cuda":
            gc.collect()  # a lane and its work know each other
            torch.cuda.synchronize(self.network.device)
            torch.cuda.empty_cache()

    def close(self) -> None:
        self.free()
        if self._copying:
            self._copying.shutdown(cancel_futures=True)

    def _write(
        self,
        made_of: Callable[[list[NDArray[np.int64]]], Sequence[Made]],
        pictures: Sequence[NDArray[np.uint8]],
        numbers: NDArray[np.float32] | None,
    ) -> list[Made]:
        batches = [slice(first, first + self.size) for first in range(0, len(pictures), self.size)]
        captions: list[Made] = [None] * len(pictures)  # type: ignore[list-item]

        def keep(batch: slice, tokens_BL: NDArray[np.int64]) -> None:
            captions[batch] = made_of([self._cut(tokens_L) for tokens_L in tokens_BL])

        while len(self.lanes) < min(len(batches), self.lane_count):
            seen, steps = min(self.size, self.seen_at_once), self.steps_at_once
            lane = Lane(self.network, self.rules, self.size, seen_at_once=seen, steps_at_once=steps, graphs=self.graphs)
            self.lanes.append(lane)
        runs = [
            self._run(lane, batches[place :: self.lane_count], pictures, numbers, keep)
            for place, lane in enumerate(self.lanes[: len(batches)])
        ]
        while runs := [run for run in runs if next(run, False)]:
            if self.network.device.type == "cuda":
                time.sleep(LOOK_AGAIN_S)
        return captions

    def _run(
        self,
        lane: Lane,
        batches: Sequence[slice],
        pictures: Sequence[NDArray[np.uint8]],
        numbers: NDArray[np.float32] | None,
        keep: Callable[[slice, NDArray[np.int64]], None],
    ) -> Iterator[bool]:
        """A lane's batches, one after another; yields True where it would have to wait.

        A batch's tokens are kept when the next one is on its way: the device has work meanwhile.
        """

        def put(batch: slice) -> None:
            lane.put(pictures[batch], None if numbers is None else numbers[batch])

        copy, taken = _Copy(self._copying, put, batches[0]), None
        for place in range(len(batches)):
            while not copy.over():
                yield True
            copy.check()
            lane.send()
            if taken is not None:
                keep(batches[place - 1], taken)
            while not lane.sent():
                yield True
            if place + 1 < len(batches):
                copy = _Copy(self._copying, put, batches[place + 1])
            working = True
            while working:
                while not lane.ready():
                    yield True
                working = lane.advance()
            taken = lane.take()
        if taken is not None:
            keep(batches[-1], taken)

    def _cut(self, tokens_L: NDArray[np.int64]) -> NDArray[np.int64]:
        """Up to the end token, which the prompt can't hold."""
        ends = (tokens_L[len(self.rules.prompt) :] == self.network.end_token).nonzero()[0]
        return tokens_L[: len(self.rules.prompt) + ends[0] + 1] if len(ends) else tokens_L

    def _device(self) -> Any:
        """As a context: graphs record on the current device, whatever their tensors' is."""
        device = self.network.device
        return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


class _Copy:
    """Pictures on their way into a lane: on the copying thread where there is one, else at once."""

    def __init__(self, thread: ThreadPoolExecutor | None, put: Callable[[slice], None], batch: slice) -> None:
        self._over = Event()
        self._future = thread.submit(self._do, put, batch) if thread else None
        if self._future is None:
            self._do(put, batch)

    def over(self) -> bool:
        """Asked again and again. `Future.done` takes a lock, which a Ctrl-C in its midst leaves taken for ever."""
        return self._over.is_set()

    def check(self) -> None:
        """Raises what went wrong."""
        if self._future:
            self._future.result()

    def _do(self, put: Callable[[slice], None], batch: slice) -> None:
        try:
            put(batch)
        finally:
            self._over.set()


def pictures_that_fit(network: Network, rules: Rules) -> int:
    """How many pictures a lane may hold: of the GPU's free memory its share; a power of two."""
    decoder, item = network.decoder, network.decoder.words_VD.element_size()
    width, places = decoder.words_VD.shape[1], network.image_tokens + rules.beams * rules.length
    kept = 2 * len(decoder.layers) * places * width * item
    passing = rules.beams * decoder.words_VD.shape[0] * 4 * 6  # scores, sorted, summed
    room = CPU_BYTES
    if network.device.type == "cuda":
        room = int(GPU_SHARE * torch.cuda.mem_get_info(network.device)[0] / GPU_LANES)
    return 1 << max(0, (room // (kept + passing)).bit_length() - 1)


def rows_are_alike(network: Network, rules: Rules, size: int) -> bool:
    """Whether the decoder computes the same picture to the same bits in every row of a batch of `size`.

    A caption of full length is read, of made-up words and for a made-up image.
    """
    with torch.inference_mode():
        generator = torch.Generator().manual_seed(0)
        image_memory = network.decoder.memory(size, network.image_tokens)
        image_memory[:, :, :1].normal_(generator=generator)
        image_memory[:, :, 1:] = image_memory[:, :, :1]
        vocabulary = len(network.decoder.words_VD)
        tokens_RL = torch.randint(vocabulary, (1, rules.length), generator=generator).expand(size * rules.beams, -1)
        memory = network.decoder.memory(len(tokens_RL), rules.length)
        for step in range(rules.max_new_tokens):
            hidden = read_step(network, rules, tokens_RL, step, memory, image_memory)
            if not (hidden == hidden[:1]).all():
                return False
        scores_RV = network.decoder.scores(hidden[:, -1])
        return bool((scores_RV == scores_RV[:1]).all())
