"""Run images through BLIP, in batches of fixed size on parallel streams.

A GPU has two streams: one decodes, which is bound by memory, while the other's vision tower computes and the next
images are copied. The CPU has one stream, and its captions don't depend on the batch to the last bit: each image goes
through the tower alone, and through the decoder in a fixed number of rows. The engine tests at its start that all rows
of such a batch compute the same; if they don't, it decodes row by row.
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

from curator.captioners.blip.decoding import Decoding, read_step
from curator.captioners.blip.network import Network
from curator.captioners.blip.stream import Stream

Result = TypeVar("Result")
CPU_IMAGES = 32
CPU_BYTES = 400_000_000  # for a stream's caches; limits its images, but to no fewer than one
GPU_IMAGES = 256  # they share each read of the decoder's weights; the cost of image keys grows with their number
GPU_IMAGES_AT_ONCE = 64
GPU_STEPS_AT_ONCE = 5  # fewer stop sooner once all captions ended, but cost more launches
GPU_STREAMS = 2
GPU_SHARE = 0.6  # of the free memory, for the streams' caches; the tower's activations and other programs need some too
POLL_S = 0.0002


class Engine:
    """Captions any number of images. Raises torch.OutOfMemoryError if a single one doesn't fit."""

    def __init__(
        self,
        network: Network,
        decoding: Decoding,
        *,
        size: int | None = None,
        streams: int | None = None,
        graphs: bool = True,
    ) -> None:
        """`size`: the most images a stream on a GPU; None: chosen. Memory is allocated with the first images.

        On the CPU `size` has no effect: with another number of rows the sums may round differently.
        """
        self.network, self.decoding = network, decoding
        on_cuda = network.device.type == "cuda"
        self.size = min((size or GPU_IMAGES) if on_cuda else CPU_IMAGES, images_that_fit(network, decoding))
        if not on_cuda and not rows_are_identical(network, decoding, self.size):
            self.size = 1
        self.stream_count = (streams or GPU_STREAMS) if on_cuda else 1
        self.images_at_once = GPU_IMAGES_AT_ONCE if on_cuda else 1
        self.steps_at_once = GPU_STEPS_AT_ONCE if on_cuda else 1
        self.graphs = graphs
        self.streams: list[Stream] = []
        self._copy_thread = ThreadPoolExecutor(1, thread_name_prefix="copy") if on_cuda else None

    def generate(
        self, images: Sequence[NDArray[np.uint8]], uniforms: NDArray[np.float32] | None = None
    ) -> list[NDArray[np.int64]]:
        """Return the tokens of each caption, with prompt and end token.

        `images`: uint8 (3, side, side); `uniforms`: random numbers for sampling, (images, steps).
        """
        return self.generate_as(lambda captions: captions, images, uniforms)

    def generate_as(
        self,
        convert: Callable[[list[NDArray[np.int64]]], Sequence[Result]],
        images: Sequence[NDArray[np.uint8]],
        uniforms: NDArray[np.float32] | None = None,
    ) -> list[Result]:
        """As `generate`, but convert the tokens of each batch while the device computes the next."""
        while True:
            try:
                with torch.inference_mode(), self._device():
                    return self._generate(convert, images, uniforms)
            except torch.OutOfMemoryError:
                if self.size == 1:
                    raise
            # Outside `except`, because the error's traceback holds the memory to free.
            self.free()
            self.size //= 2

    def free(self) -> None:
        self.streams.clear()
        if self.network.device.type == "cuda":
            gc.collect()  # a stream and its work refer to each other
            torch.cuda.synchronize(self.network.device)
            torch.cuda.empty_cache()

    def close(self) -> None:
        self.free()
        if self._copy_thread:
            self._copy_thread.shutdown(cancel_futures=True)

    def _generate(
        self,
        convert: Callable[[list[NDArray[np.int64]]], Sequence[Result]],
        images: Sequence[NDArray[np.uint8]],
        uniforms: NDArray[np.float32] | None,
    ) -> list[Result]:
        batches = [slice(first, first + self.size) for first in range(0, len(images), self.size)]
        results: list[Result] = [None] * len(images)  # type: ignore[list-item]

        def store(batch: slice, tokens_BL: NDArray[np.int64]) -> None:
            results[batch] = convert([self._cut(tokens_L) for tokens_L in tokens_BL])

        while len(self.streams) < min(len(batches), self.stream_count):
            stream = Stream(
                self.network,
                self.decoding,
                self.size,
                images_at_once=min(self.size, self.images_at_once),
                steps_at_once=self.steps_at_once,
                graphs=self.graphs,
            )
            self.streams.append(stream)
        runs = [
            self._run(stream, batches[index :: self.stream_count], images, uniforms, store)
            for index, stream in enumerate(self.streams[: len(batches)])
        ]
        while runs := [run for run in runs if next(run, False)]:
            if self.network.device.type == "cuda":
                time.sleep(POLL_S)
        return results

    def _run(
        self,
        stream: Stream,
        batches: Sequence[slice],
        images: Sequence[NDArray[np.uint8]],
        uniforms: NDArray[np.float32] | None,
        store: Callable[[slice, NDArray[np.int64]], None],
    ) -> Iterator[bool]:
        """Run a stream's batches in turn; yield True instead of waiting.

        A batch is stored only once the next one has started, so that the device doesn't idle meanwhile.
        """

        def put(batch: slice) -> None:
            stream.put(images[batch], None if uniforms is None else uniforms[batch])

        copy, tokens_BL = _Copy(self._copy_thread, put, batches[0]), None
        for index in range(len(batches)):
            while not copy.is_done():
                yield True
            copy.check()
            stream.send()
            if tokens_BL is not None:
                store(batches[index - 1], tokens_BL)
            while not stream.sent():
                yield True
            if index + 1 < len(batches):
                copy = _Copy(self._copy_thread, put, batches[index + 1])
            running = True
            while running:
                while not stream.ready():
                    yield True
                running = stream.advance()
            tokens_BL = stream.take()
        if tokens_BL is not None:
            store(batches[-1], tokens_BL)

    def _cut(self, tokens_L: NDArray[np.int64]) -> NDArray[np.int64]:
        ends = (tokens_L[len(self.decoding.prompt) :] == self.network.end_token).nonzero()[0]
        return tokens_L[: len(self.decoding.prompt) + ends[0] + 1] if len(ends) else tokens_L

    def _device(self) -> Any:
        """Return a context that makes this the current device, on which CUDA graphs record."""
        device = self.network.device
        return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


class _Copy:
    def __init__(self, thread: ThreadPoolExecutor | None, put: Callable[[slice], None], batch: slice) -> None:
        self._done = Event()
        self._future = thread.submit(self._copy, put, batch) if thread else None
        if self._future is None:
            self._copy(put, batch)

    def is_done(self) -> bool:
        """Poll. Unlike `Future.done` it takes no lock, which a Ctrl-C inside would leave locked."""
        return self._done.is_set()

    def check(self) -> None:
        if self._future:
            self._future.result()

    def _copy(self, put: Callable[[slice], None], batch: slice) -> None:
        try:
            put(batch)
        finally:
            self._done.set()


def images_that_fit(network: Network, decoding: Decoding) -> int:
    decoder, item_bytes = network.decoder, network.decoder.words_VD.element_size()
    width, tokens = decoder.words_VD.shape[1], network.image_tokens + decoding.beams * decoding.length
    cache_bytes = 2 * len(decoder.layers) * tokens * width * item_bytes
    score_bytes = decoding.beams * decoder.words_VD.shape[0] * 4 * 6  # scores, sorted, summed
    free_bytes = CPU_BYTES
    if network.device.type == "cuda":
        free_bytes = int(GPU_SHARE * torch.cuda.mem_get_info(network.device)[0] / GPU_STREAMS)
    return 1 << max(0, (free_bytes // (cache_bytes + score_bytes)).bit_length() - 1)


def rows_are_identical(network: Network, decoding: Decoding, size: int) -> bool:
    """Test whether all rows of a batch of `size` compute the same bits, by a full-length random caption and image."""
    with torch.inference_mode():
        generator = torch.Generator().manual_seed(0)
        image_cache = network.decoder.new_cache(size, network.image_tokens)
        image_cache[:, :, :1].normal_(generator=generator)
        image_cache[:, :, 1:] = image_cache[:, :, :1]
        vocabulary = len(network.decoder.words_VD)
        tokens_1L = torch.randint(vocabulary, (1, decoding.length), generator=generator)
        tokens_RL = tokens_1L.expand(size * decoding.beams, -1)
        cache = network.decoder.new_cache(len(tokens_RL), decoding.length)
        for step in range(decoding.max_new_tokens):
            hidden = read_step(network, decoding, tokens_RL, step, cache, image_cache)
            if not (hidden == hidden[:1]).all():
                return False
        scores_RV = network.decoder.scores(hidden[:, -1])
        return bool((scores_RV == scores_RV[:1]).all())
