"""BLIP's engine against transformers' `generate`, on the CPU or on a GPU: `python -m tests.bench captioning`.

On the CPU: the miniature (its layout with random weights where it isn't there) over OpenMoji. On a GPU: random
weights of BLIP base at 384 px (and large), 20 new tokens, greedy, the end token forbidden so that all 20 are written;
from JPEGs of 1 MP on disk, made here, to Parquet parts with captions; the parts of the work alone; agreement, memory
and the share of what the card can do. Needs torch, transformers, pyarrow, numpy and Pillow, no hub; simplejpeg if it
is there.
"""

from __future__ import annotations

import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from curator import captioners
from curator.captioners.blip.cuda_graphs import record
from curator.captioners.blip.decoding import Decoding
from curator.captioners.blip.engine import Engine
from curator.captioners.blip.network import Network, from_transformers
from curator.captioners.blip.stream import Stream
from curator.captioners.model import Item, Output
from curator.captioners.model.batch_runner import BatchRunner
from tests.bench.blip_models import (
    BEGIN,
    MEAN,
    MINI,
    PICTURES,
    STD,
    TIME_S,
    TOKENS,
    Scale,
    build,
    cut,
    device_name,
    flops_a_picture,
    flops_of,
    generated,
    given,
    normalised,
    pixels_of,
    save,
    size_kb,
    timed,
    tower_flops,
    write_parts,
    write_photographs,
)
from tests.bench.table import Row
from tests.curator.captioners.blip.tiny_blip import teacher_forced


def bench() -> list[Row]:
    torch.set_grad_enabled(False)
    try:
        return bench_gpu(Scale(), torch.device("cuda")) if torch.cuda.is_available() else bench_cpu()
    finally:
        torch.set_grad_enabled(True)


# ---- the CPU


def bench_cpu(count: int = 64, rounds: int = 3) -> list[Row]:
    """The engine against `generate` on the same prepared pictures, in turn, so that a busy machine slows both."""
    from transformers import BlipForConditionalGeneration

    if MINI.is_dir():
        name, model = "mini BLIP", BlipForConditionalGeneration.from_pretrained(MINI, dtype=torch.float32).eval()
    else:
        layout = {"hidden_size": 192, "intermediate_size": 768, "num_attention_heads": 6}
        text = {**layout, "num_hidden_layers": 3, "vocab_size": 2_000}
        name, model = "mini layout, random weights", build(text, {**layout, "num_hidden_layers": 6}, 64, patch=8)
    network = from_transformers(model, MEAN, STD, 1 / 255)
    files = [path.read_bytes() for path in sorted(PICTURES.rglob("*.png"))[:count]]
    pixels = np.stack([pixels_of(data, network.side_px) for data in files])
    theirs_given = given(model, pixels, 32)
    rows = []
    for words, options in (("greedy", {}), ("3 beams", {"num_beams": 3})):
        rules = Decoding((network.begin_token,), decode="beam" if options else "greedy", max_new_tokens=TOKENS)
        engine = Engine(network, rules)
        ours, theirs, apart = [], [], 0
        for turn in range(rounds + 1):
            ours_s, captions = timed(lambda engine=engine: engine.generate(pixels))
            theirs_s, expected = timed(lambda options=options: generated(model, theirs_given, **options))
            apart = sum(one.tolist() != cut(other, network) for one, other in zip(captions, expected, strict=True))
            if turn:
                ours.append(count / ours_s)
                theirs.append(count / theirs_s)
        detail = f"{median(ours):.0f} against {median(theirs):.0f} images/s; {count - apart} of {count} captions equal"
        rows.append(Row(f"{name}, {words}, CPU", "generate, batch 32", median(ours) / median(theirs), detail))
    return rows


# ---- a GPU


def bench_gpu(scale: Scale, device: torch.device) -> list[Row]:
    """All variants in one call; what fails is told on stderr and the rest goes on."""
    return Measured(scale, device).rows()


class Measured:
    """The measurements, each added to `found` as it is made."""

    def __init__(self, scale: Scale, device: torch.device) -> None:
        self.scale, self.device = scale, device
        self.dtype = torch.bfloat16
        self.found: list[Row] = []
        self.began = time.perf_counter()
        self.generate_rate = 0.0
        self.peak_flops = 0.0

    def rows(self) -> list[Row]:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            self.say(device_name(self.device))
            model = build(self.scale.text, self.scale.vision, self.scale.side_px)
            save(folder / "base", model, self.scale.side_px)
            files = write_photographs(folder / "pictures", self.scale)
            model = model.to(self.device, self.dtype)
            network = from_transformers(model, MEAN, STD, 1 / 255)
            pictures = self.prepared(files)
            for variant in (
                lambda: self.peak(),
                lambda: self.generate(model, pictures, network),
                lambda: self.engine("ours", network, pictures),
                lambda: self.files_to_rows(folder, files),
                lambda: self.decoding_pictures(folder, files),
                lambda: self.tower(model, network),
                lambda: self.decoder(network),
                lambda: self.agreement(folder / "base", pictures),
                lambda: self.engine("ours, one stream", network, pictures, streams=1),
                lambda: self.engine("ours, no graphs", network, pictures[: len(pictures) // 4], graphs=False),
                lambda: self.beams(model, network, pictures),
                lambda: self.large(pictures),
            ):
                self.attempt(variant)
        return self.found

    def attempt(self, variant: Callable[[], None]) -> None:
        """One variant's failure, or a machine that is slow, must not cost the others' figures."""
        if time.perf_counter() - self.began > TIME_S:
            self.say("no time for another variant")
            return
        try:
            variant()
        except Exception:
            traceback.print_exc()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def say(self, text: str) -> None:
        print(f"[{time.perf_counter() - self.began:5.0f} s] {text}", file=sys.stderr, flush=True)

    def add(self, name: str, rate: float, detail: str, baseline: str = "", base_rate: float = 0.0) -> None:
        """A rate in images/s, against `generate`'s best unless another baseline is given."""
        baseline, base_rate = (baseline, base_rate) if baseline else ("generate", self.generate_rate)
        row = Row(name, baseline, rate / base_rate if base_rate else 0.0, f"{rate:,.0f} images/s; {detail}")
        self.found.append(row)
        self.say(f"{row.name}: {row.detail} ({row.ratio:.2f} times {row.baseline})")

    def rules(self, **options: Any) -> Decoding:
        return Decoding(**{"prompt": (BEGIN,), "min_new_tokens": TOKENS, "max_new_tokens": TOKENS, **options})

    def rate(self, work: Callable[[], Any], images: int) -> float:
        """The median of a few rounds, after one that warms up, in images/s."""
        seconds = [self.seconds(work) for _ in range(self.scale.rounds + 1)]
        return images / median(seconds[1:])

    def seconds(self, work: Callable[[], Any]) -> float:
        self.synchronise()
        taken, _ = timed(lambda: (work(), self.synchronise()))
        return taken

    def synchronise(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def memory(self) -> str:
        """The most that was taken since `watch`."""
        return f"{torch.cuda.max_memory_allocated() / 1e9:.1f} GB at most" if self.device.type == "cuda" else "no GPU"

    @contextmanager
    def watch(self) -> Iterator[None]:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        yield

    def share(self, rate: float, flops: float) -> str:
        """Of the arithmetic that the card did in a large product."""
        return f"{rate * flops / self.peak_flops:.2f} of peak ({flops / 1e9:.0f} GFLOP each)" if self.peak_flops else ""

    # -- the variants

    def prepared(self, files: Sequence[Item]) -> list[np.ndarray]:
        with ThreadPoolExecutor() as pool:
            distinct = list(pool.map(lambda item: pixels_of(Path(item.path).read_bytes(), self.scale.side_px), files))
        return list(islice(cycle(distinct), self.scale.pictures))

    def peak(self) -> None:
        side = self.scale.peak
        left = torch.randn(side, side, device=self.device, dtype=self.dtype)
        taken = min(self.seconds(lambda: left @ left) for _ in range(5))
        self.peak_flops = 2 * side**3 / taken
        self.say(f"peak: {self.peak_flops / 1e12:.0f} TFLOP/s in a product of {side} cubed, {self.dtype}")

    def generate(self, model: Any, pictures: list[np.ndarray], network: Network) -> None:
        rates = {}
        for batch in self.scale.batches:
            some = given(model, np.stack(pictures[: max(batch, 64)]), batch)
            rates[batch] = self.rate(
                lambda some=some: generated(model, some, min_new_tokens=TOKENS), sum(map(len, some))
            )
            self.say(f"generate, batch {batch}: {rates[batch]:,.0f} images/s")
        first, best = rates[self.scale.batches[0]], max(rates.values())
        self.generate_rate = best
        share = self.share(best, flops_a_picture(model))
        self.add(f"generate, batch {self.scale.batches[-1]}", best, share, f"batch {self.scale.batches[0]}", first)

    def engine(self, name: str, network: Network, pictures: list[np.ndarray], **options: Any) -> None:
        engine = Engine(network, self.rules(), **options)
        with self.watch():
            start = time.perf_counter()
            engine.generate(pictures[: engine.size * engine.stream_count])
            self.synchronise()
            ready = time.perf_counter() - start
            rate = self.rate(lambda: engine.generate(pictures), len(pictures))
        detail = f"{engine.size} a stream, {engine.stream_count} streams, {self.memory()}, ready after {ready:.1f} s"
        self.add(name, rate, f"{detail}, {self.share(rate, flops_of(network))}")
        engine.close()

    def files_to_rows(self, folder: Path, files: list[Item]) -> None:
        machine = self.machine(folder / "base")
        runner = BatchRunner(machine)
        items = list(islice(cycle(files), self.scale.items))
        warm = list(islice(cycle(files), machine.batch_size or 64))
        write_parts(runner, warm, folder / "warm")
        with self.watch():
            taken, rows = timed(lambda: write_parts(runner, items, folder / "rows"))
        assert rows == len(items)
        batch, threads = runner.batch_size.size, runner.threads
        detail = f"{len(items):,} files of {size_kb(files)} kB, {threads} threads, batches of {batch}, {self.memory()}"
        self.add("JPEG files to caption rows", len(items) / taken, detail)
        machine.close()

    def machine(self, folder: Path) -> Any:
        blip = captioners.load("blip")
        options = [f"model={folder}", f"device={self.device.type}", "dtype=bfloat16"]
        options += [f"min_new_tokens={TOKENS}", f"max_new_tokens={TOKENS}"]
        assert blip.load_model is not None
        return blip.load_model(captioners.parse_options(blip, options))

    def decoding_pictures(self, folder: Path, files: list[Item]) -> None:
        """The first stage alone: what the cores could feed."""
        side = self.scale.side_px

        class Nothing:
            batch_size: int | None = 256

            def preprocess(self, item: Item) -> Any:
                return pixels_of(Path(item.path).read_bytes(), side)

            def generate(self, items: Sequence[Item], prepared: Sequence[Any]) -> list[Output]:
                return [Output("") for _ in items]

            def close(self) -> None: ...

        items = list(islice(cycle(files), max(len(files), self.scale.items // 4)))
        runner = BatchRunner(Nothing())
        taken, _ = timed(lambda: write_parts(runner, items, folder / "nothing"))
        self.add("reading, decoding and resizing alone", len(items) / taken, f"{runner.threads} threads")

    def tower(self, model: Any, network: Network) -> None:
        size = self.scale.batches[-1]
        pixels = torch.randint(
            0, 256, (size, 3, self.scale.side_px, self.scale.side_px), dtype=torch.uint8, device=self.device
        )
        values = torch.randn(pixels.shape, dtype=self.dtype, device=self.device)
        theirs = self.rate(lambda: model.vision_model(values), size)
        self.say(f"transformers' tower: {theirs:,.0f} images/s")
        flops = tower_flops(network)
        for part in sorted({min(size, wanted) for wanted in (8, 16, 32, 64, 128, 256)}):
            work = self.graphed(
                lambda part=part: [network.tower(pixels[at : at + part]) for at in range(0, size, part)]
            )
            rate = self.rate(work, size)
            self.add(f"tower alone, {part} at once", rate, self.share(rate, flops), "transformers' tower", theirs)

    def graphed(self, work: Callable[[], Any]) -> Callable[[], Any]:
        """As a stream does it."""
        if self.device.type != "cuda":
            return work
        stream = torch.cuda.Stream()
        replay = record([work], stream)[0]

        def replayed() -> None:
            with torch.cuda.stream(stream):
                replay()

        return replayed

    def decoder(self, network: Network) -> None:
        size = self.scale.batches[-1]
        for beams in (1, 3):
            rules = self.rules(decode="beam" if beams > 1 else "greedy")
            stream = Stream(network, rules, size, images_at_once=min(64, size), steps_at_once=5)

            def steps(stream: Stream = stream) -> None:
                with stream.current():
                    for work in stream.step_works:
                        work()

            with torch.inference_mode():
                rate = self.rate(steps, size)
            self.add(f"decoder alone, {beams} beams", rate, f"{1e3 * size / rate / TOKENS:.2f} ms a token of {size}")

    def agreement(self, folder: Path, pictures: list[np.ndarray]) -> None:
        """Logits and captions of ours and of `generate`, in float32 and in bfloat16."""
        from transformers import BlipForConditionalGeneration

        some = np.stack(pictures[: self.scale.compared])
        said, first = {}, None
        for dtype in (torch.float32, torch.bfloat16):
            model = BlipForConditionalGeneration.from_pretrained(folder, dtype=dtype).to(self.device).eval()
            network = from_transformers(model, MEAN, STD, 1 / 255)
            engine = Engine(network, self.rules())
            said["ours", dtype] = [tokens.tolist() for tokens in engine.generate(list(some))]
            engine.close()
            said["generate", dtype] = [
                cut(row, network) for row in generated(model, given(model, some, 32), min_new_tokens=TOKENS)
            ]
            tokens = torch.tensor(said["generate", torch.float32][:32], device=self.device)
            logits = teacher_forced(network, torch.from_numpy(some[:32]).to(self.device), tokens)
            theirs = model(pixel_values=normalised(some[:32]).to(self.device, dtype), input_ids=tokens).logits.float()
            first = theirs if first is None else first
            self.say(
                f"teacher-forced logits, {dtype}: ours and transformers' at most "
                f"{(logits - theirs).abs().max():.2e} apart, from transformers' float32 ours "
                f"{(logits - first).abs().max():.2e}, its own {(theirs - first).abs().max():.2e}; "
                f"deviation {first.std():.2f}; the likeliest token is the same in "
                f"{(logits.argmax(-1) == first.argmax(-1)).float().mean():.4f} and "
                f"{(theirs.argmax(-1) == first.argmax(-1)).float().mean():.4f} of places"
            )
        for one, other in (
            (("ours", torch.float32), ("generate", torch.float32)),
            (("ours", torch.bfloat16), ("generate", torch.bfloat16)),
            (("ours", torch.bfloat16), ("generate", torch.float32)),
            (("generate", torch.bfloat16), ("generate", torch.float32)),
        ):
            same = sum(left == right for left, right in zip(said[one], said[other], strict=True)) / len(some)
            name = f"captions equal: {one[0]} {one[1]}, {other[0]} {other[1]}".replace("torch.", "")
            self.found.append(Row(name, "all", same, f"of {len(some)} captions of {TOKENS} tokens, random weights"))
            self.say(f"{name}: {same:.3f}")

    def beams(self, model: Any, network: Network, pictures: list[np.ndarray]) -> None:
        some = given(model, np.stack(pictures[:64]), 64)
        theirs = self.rate(lambda: generated(model, some, num_beams=3, min_new_tokens=TOKENS), sum(map(len, some)))
        engine = Engine(network, self.rules(decode="beam", num_beams=3))
        with self.watch():
            rate = self.rate(lambda: engine.generate(pictures), len(pictures))
        self.add("3 beams", rate, f"{engine.size} a stream, {self.memory()}", "generate, 3 beams, batch 64", theirs)
        engine.close()

    def large(self, pictures: list[np.ndarray]) -> None:
        model = build(self.scale.text, self.scale.large, self.scale.side_px).to(self.device, self.dtype)
        network = from_transformers(model, MEAN, STD, 1 / 255)
        batch = self.scale.batches[-1]
        some = given(model, np.stack(pictures[:batch]), batch)
        theirs = self.rate(lambda: generated(model, some, min_new_tokens=TOKENS), sum(map(len, some)))
        engine = Engine(network, self.rules())
        with self.watch():
            rate = self.rate(lambda: engine.generate(pictures), len(pictures))
        detail = f"{engine.size} a stream, {self.memory()}, {self.share(rate, flops_of(network))}"
        self.add("large", rate, detail, f"generate, large, batch {batch}", theirs)
        engine.close()
