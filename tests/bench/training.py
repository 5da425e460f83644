"""Training at the speed of the hardware: every variant side by side, `python -m tests.bench training`.

On a GPU: random weights of Stable Diffusion 1.5 and SDXL, from cached latents and embeddings or from JPEG files made
here; against the loop of the usual example script, which encodes pixels and words in every step. On a CPU: the mini
model's step against that loop (training_step.py). `AMATL_BENCH_ONLY=sd15,cache` measures parts of it.

Each variant is guarded: one that fails is told on stderr and costs the others nothing.
"""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch

from tests.bench import architectures
from tests.bench.card import ENCODER_TFLOP, SD15_TFLOP, SDXL_TFLOP, Card, Scale
from tests.bench.table import Row
from trainer_client.config import TrainConfig
from trainer_client.data import latents as cache
from trainer_client.data.batches import TrainingSet, epoch_steps
from trainer_client.data.images import pixels
from trainer_client.data.latents import Latents, TextEmbeddings, cache_latents
from trainer_client.data.parallel import in_threads
from trainer_client.data.plan import Plan
from trainer_client.data.snapshot import Row as ImageRow
from trainer_client.methods import begin
from trainer_client.performance.attention import fused
from trainer_client.sample import draw_tiles
from trainer_client.sample.engine import Drawing
from trainer_client.train.train_step import Learner


def bench() -> list[Row]:
    if torch.cuda.is_available():
        return Measured(Scale(), torch.device("cuda")).rows()
    from tests.bench import training_step

    return [replace(row, name=f"{row.name}, CPU") for row in training_step.bench()]


class Measured(Card):
    """The measurements of training."""

    def rows(self) -> list[Row]:
        parts: list[tuple[str, Callable[[Path], None]]] = [
            ("sd15", self.sd15_full),
            ("mini", self.mini),
            ("cache", self.encoding),
            ("curve", self.curve),
            ("lora", self.sd15_lora),
            ("sampling", self.sampling),
            ("sdxl-lora", lambda folder: self.sdxl(folder, "lora")),
            ("sdxl", lambda folder: self.sdxl(folder, "full")),
        ]
        with tempfile.TemporaryDirectory() as place:
            self.peak()
            for name, part in parts:
                if not self.only or name in self.only:
                    self.attempt(name, lambda part=part, name=name: part(Path(place) / name))
        return self.found

    # -- a training step

    def settings(self, folder: Path, batch: int, **options: Any) -> TrainConfig:
        given = {"method": "full", "learning_rate": 1e-5, "epochs": 1000, "warmup_steps": 0, **options}
        return TrainConfig.of(
            snapshot=folder, base="random", captions="text", out=folder / "run", batch_size=batch, **given
        )

    def set_of(self, family: Any, where: torch.device) -> TrainingSet:
        """Images and captions as a cache gives them, of random content."""
        images, shape = self.scale.set_images, family.latent_shape
        draw = torch.Generator(self.device).manual_seed(0)

        def normal(*size: int) -> torch.Tensor:
            return torch.randn(size, device=self.device, dtype=self.dtype, generator=draw)

        side = torch.full((images,), family.resolution_px, device=where)
        sizes_N6 = torch.stack((side, side, side * 0, side * 0, side, side), dim=1)
        text_BTD = family.encode_text(family.tokenise(["a red fox in the snow"]))
        captions = {f"caption {number}": number for number in range(256)}
        text = TextEmbeddings(captions, normal(len(captions), *text_BTD.shape[1:]).to(where))
        mean_N2CHW = normal(images, 1, *shape).to(where)
        latents = Latents(mean_N2CHW, (normal(images, 1, *shape) - 8).to(where), sizes_N6)
        names = [f"{number:064x}" for number in range(images)]
        return TrainingSet(names, latents, torch.arange(images, device=self.device) % len(captions), text)

    def stepping(
        self, family: Any, data: TrainingSet, config: TrainConfig, compiling: bool
    ) -> tuple[Learner, Callable[[], torch.Tensor]]:
        """The learner, and a function that does its next step and gives the step's mean loss."""
        plan = Plan(
            len(data.sha256s), config.optimiser.batch_size * config.optimiser.accumulation, config.schedule.epochs
        )
        learner = Learner(begin(family, config), config, plan, compiled=compiling)

        def steps() -> Iterator[torch.Tensor]:
            for epoch in range(1, config.schedule.epochs + 1):
                for drawn in epoch_steps(family, data, plan, epoch):
                    if len(drawn) == plan.images_per_step:
                        yield learner.learn(data, drawn) / len(drawn)

        going = steps()
        if compiling:
            first = next(epoch_steps(family, data, plan, 1))
            taken = self.seconds(lambda: learner.compile(data, first, lambda *_: None))
            self.say(f"compiled {len(learner.blocks.modules) if learner.blocks else 0} blocks in {taken:.0f} s")
        return learner, lambda: next(going)

    def rate(self, step: Callable[[], Any], images: int, warm: int = 3) -> float:
        """The median of single steps in images/s."""
        for _ in range(warm):
            step()
        return images / median(self.seconds(step) for _ in range(self.scale.steps))

    def example_style(self, family: Any, config: TrainConfig, batch: int) -> Callable[[], Any]:
        """The usual example script's step: pixels and words encoded each time, autocast, fused AdamW, no file read."""
        method = begin(family, config)
        weights = list(method.parameters.values())
        optimiser = torch.optim.AdamW(weights, lr=1e-5, fused=True)
        side = family.resolution_px
        pixels_BCHW = torch.randint(0, 256, (batch, 3, side, side), device=self.device, dtype=torch.uint8)

        def step() -> None:
            with torch.no_grad():
                parts = [family.encode_images(part.float() / 127.5 - 1) for part in pixels_BCHW.split(8)]
                mean_BCHW, logvar_BCHW = (torch.cat(each) for each in zip(*parts, strict=True))
                text_BTD = family.encode_text(family.tokenise(["a red fox in the snow"] * batch))
            latents_BCHW = family.latents(mean_BCHW, logvar_BCHW, torch.randn_like(mean_BCHW))
            noise_BCHW = torch.randn_like(latents_BCHW)
            timesteps_B = torch.randint(family.train_timesteps, (batch,), device=self.device)
            noisy_BCHW = family.add_noise(latents_BCHW, noise_BCHW, timesteps_B)
            predicted_BCHW = family.predict(family.denoiser, noisy_BCHW, timesteps_B, text_BTD)
            (predicted_BCHW - noise_BCHW).square().mean().backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0, foreach=True)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)

        return step

    def compare(
        self, folder: Path, name: str, size: str, tflop: float, example: int, batch: int, **options: Any
    ) -> None:
        """The example-style loop with batches of `example`, then ours with `batch`."""

        def built() -> Any:
            family = architectures.build(size, folder, self.device, self.dtype)
            self.watch_memory()
            return family

        def told(batch: int, rate: float) -> str:
            return f"batch {batch}, {self.memory()}, {self.share(rate, tflop)}"

        def theirs() -> None:
            step = self.example_style(built(), self.settings(folder, example, **options), example)
            with self.plain_attention():
                rate = self.rate(step, example, warm=2)
            self.add(f"{name}, example-style loop", rate, told(example, rate))

        def ours() -> None:
            family = built()
            config = self.settings(folder, batch, **options)
            _, step = self.stepping(family, self.set_of(family, self.device), config, compiling=True)
            rate = self.rate(step, batch)
            self.add(f"{name}, ours", rate, told(batch, rate), f"{name}, example-style loop")

        self.attempt(f"{name}, example-style loop", theirs)
        self.attempt(f"{name}, ours", ours)

    def plain_attention(self) -> Any:
        """The attention that torch would take: the example script knows no other."""
        if self.device.type != "cuda":
            return fused(self.device)
        import trainer_client.models.stable_diffusion as module

        class Plain:
            def __enter__(self) -> None:
                self.kept, module.fused = module.fused, lambda _: fused(torch.device("cpu"))

            def __exit__(self, *_: object) -> None:
                module.fused = self.kept

        return Plain()

    def sd15_full(self, folder: Path) -> None:
        name, scale = "SD 1.5 full, 512 px", self.scale

        def eager() -> None:
            family = architectures.build(scale.sd15, folder, self.device, self.dtype)
            self.watch_memory()
            off = {"compile": "off", "bf16_copy": "off", "cuda_graph": "off"}
            config = self.settings(folder, scale.example_batch, **off)
            _, step = self.stepping(family, self.set_of(family, self.device), config, compiling=False)
            with self.plain_attention():
                rate = self.rate(step, scale.example_batch, warm=2)
            detail = f"batch {scale.example_batch}, {self.memory()}, {self.share(rate, SD15_TFLOP)}"
            self.add(f"{name}, cached, eager", rate, detail, f"{name}, example-style loop")

        self.compare(folder, name, scale.sd15, SD15_TFLOP, scale.example_batch, scale.batch)
        self.attempt("eager", eager)
        self.attempt("streaming", lambda: self.streaming(folder, name))

    def streaming(self, folder: Path, name: str) -> None:
        """The same step with latents and embeddings in the host's memory."""
        family = architectures.build(self.scale.sd15, folder, self.device, self.dtype)
        data = self.set_of(family, torch.device("cpu"))
        _, step = self.stepping(family, data, self.settings(folder, self.scale.batch), compiling=True)
        for _ in range(3):
            step()
        count = max(2, self.scale.set_images // self.scale.batch)  # Steps across blocks of draws.
        taken = self.seconds(lambda: [step() for _ in range(count)])
        self.add(f"{name}, streamed", count * self.scale.batch / taken, "from the host's memory", f"{name}, ours")

    def sd15_lora(self, folder: Path) -> None:
        name, scale = "SD 1.5 LoRA, 512 px", self.scale
        tflop = SD15_TFLOP * 2 / 3
        self.compare(folder, name, scale.sd15, tflop, scale.example_batch, scale.batch, method="lora")

    def sdxl(self, folder: Path, method: str) -> None:
        tflop = SDXL_TFLOP if method == "full" else SDXL_TFLOP * 2 / 3
        batch = self.scale.xl_batch if method == "lora" else max(1, self.scale.xl_batch // 4)
        example = max(1, batch // 2) if method == "lora" else batch  # Of all weights 80 GB hold two pictures' passes.
        name = f"SDXL {'LoRA' if method == 'lora' else 'full'}, 1024 px"
        self.compare(folder, name, self.scale.sdxl, tflop, example, batch, method=method)

    def curve(self, folder: Path) -> None:
        """The losses of the same steps, eager with float32 weights under autocast and ours, at half the size."""
        losses: dict[bool, list[float]] = {}
        for compiling in (True, False):
            family = architectures.build(self.scale.sd15, folder, self.device, self.dtype)
            family = replace(family, resolution_px=family.resolution_px // 2)
            off = {} if compiling else {"bf16_copy": "off", "cuda_graph": "off"}
            config = self.settings(folder, self.scale.example_batch, **off)
            _, step = self.stepping(family, self.set_of(family, self.device), config, compiling)
            losses[compiling] = torch.stack([step() for _ in range(self.scale.curve_steps)]).tolist()
            del family, step
            gc.collect()
        pairs = list(zip(losses[True], losses[False], strict=True))
        apart = [one - other for one, other in pairs]
        tenth = max(1, len(pairs) // 10)
        ends = ", ".join(f"{mean(values[-tenth:]):.5f}" for values in (losses[True], losses[False]))
        detail = (
            f"mean difference {mean(apart):+.1e}, largest {max(map(abs, apart)):.1e}, losses from {pairs[0][1]:.4f},"
            f" last tenth ours and eager {ends}; {len(pairs)} steps of {self.scale.example_batch}, 256 px"
        )
        self.found.append(
            Row("loss curve, ours", "eager, fp32 weights", mean(losses[True]) / mean(losses[False]), detail)
        )
        self.say(f"loss curve: {detail}")

    # -- the rest

    def encoding(self, folder: Path) -> None:
        """Latents of JPEG files."""
        family = architectures.build(self.scale.sd15, folder, self.device, self.dtype)
        side = family.resolution_px
        pixels_BCHW = torch.rand(16, 3, side, side, device=self.device) * 2 - 1
        with torch.no_grad(), self.plain_attention():
            rate = self.rate(lambda: family.encode_images(pixels_BCHW), len(pixels_BCHW))
        self.add("VAE encode, eager", rate, f"batch 16, pixels on the device, {self.share(rate, ENCODER_TFLOP)}")
        rows = self.photographs(folder / "files")
        read = self.seconds(lambda: list(in_threads(lambda row: pixels(row, side), rows[: len(rows) // 4], "")))
        self.add("reading, decoding, resizing alone", len(rows) / 4 / read, f"JPEGs of {self.scale.file_px} px")
        self.watch_memory()
        many = torch.rand(cache.BATCH_PX // side**2, 3, side, side, device=self.device) * 2 - 1
        if self.device.type == "cuda":
            with torch.no_grad(), family.compiled_image_encoder() as encode_images:
                rate = self.rate(lambda: encode_images(many), len(many))
            detail = f"batch {len(many)}, pixels on the device, {self.memory()}, {self.share(rate, ENCODER_TFLOP)}"
            self.add("VAE encode, compiled", rate, detail, "VAE encode, eager")
        times: list[float] = []

        def timed(_: str, done: int, __: int | None = None, ___: str = "") -> None:
            times.append(time.perf_counter())

        kept, cache.COMPILED_PX = cache.COMPILED_PX, 1 if self.device.type == "cuda" else cache.COMPILED_PX
        try:
            whole = self.seconds(lambda: cache_latents(family, rows, folder / "cache", flips=False, progress=timed))
        finally:
            cache.COMPILED_PX = kept
        steady = times[len(times) // 4 :]
        rate = (len(steady) - 1) / (steady[-1] - steady[0])
        detail = f"JPEGs of {self.scale.file_px} px, {self.share(rate, ENCODER_TFLOP)}"
        self.add("VAE encode, cache from files", rate, f"{detail}; whole {whole:.0f} s", "VAE encode, eager")

    def photographs(self, folder: Path) -> list[ImageRow]:
        """Files of `scale.files` pictures, each made another one by a number behind its end, which no decoder reads."""
        from tests.bench.blip_models import photograph

        folder.mkdir(parents=True)
        side = self.scale.file_px
        with ThreadPoolExecutor() as pool:
            made = list(pool.map(lambda number: photograph(side, number), range(self.scale.files)))

        def write(number: int) -> ImageRow:
            content = made[number % len(made)] + number.to_bytes(4, "big")
            path = folder / f"{number:05}.jpg"
            path.write_bytes(content)
            return ImageRow(path, sha256(content).hexdigest(), {}, side, side)

        with ThreadPoolExecutor() as pool:
            return list(pool.map(write, range(self.scale.encoded)))

    def mini(self, folder: Path) -> None:
        for batch in (8, 64):
            for graph in ("off", "on"):
                family = architectures.build(self.scale.mini, folder, self.device, self.dtype)
                config = self.settings(folder, batch, cuda_graph=graph, bf16_copy="auto" if graph == "on" else "off")
                _, step = self.stepping(family, self.set_of(family, self.device), config, compiling=False)
                name = f"mini, batch {batch}, {'eager' if graph == 'off' else 'whole step recorded'}"
                self.add(name, self.rate(step, batch, warm=4), "64 px", f"mini, batch {batch}, eager")

    def sampling(self, folder: Path) -> None:
        from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline

        family = architectures.build(self.scale.sd15, folder, self.device, self.dtype)
        prompts = [f"a red fox in the snow {number}" for number in range(self.scale.pictures[0])]
        seeds = list(range(self.scale.pictures[1]))
        steps = 20 if self.device.type == "cuda" else 2
        count = len(prompts) * len(seeds)
        draw_tiles(family, prompts[:1], seeds[:1], steps)

        found = {
            "": self.drawn(family, prompts, seeds, steps, None),
            ", the next checkpoint": self.drawn(family, prompts, seeds, steps, Drawing("off")),
            ", compiled": self.drawn(family, prompts, seeds, steps, Drawing("on")),
        }
        pipeline = StableDiffusionPipeline(
            vae=family.vae.to(self.dtype),
            text_encoder=family.text_encoders["text_encoder"].to(self.dtype),
            tokenizer=family.tokenizer,
            unet=family.denoiser.to(self.dtype),
            scheduler=DPMSolverMultistepScheduler(beta_schedule="scaled_linear", steps_offset=1),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipeline.set_progress_bar_config(disable=True)
        side = family.resolution_px
        one = median(
            self.seconds(lambda: pipeline(prompts[0], num_inference_steps=steps, height=side, width=side))
            for _ in range(3)
        )
        self.add("sampling, pipeline calls one by one", 1 / one, f"{steps} steps, bf16")
        for name, (taken, detail) in found.items():
            told = f"{count} pictures, 16 at once, {steps} steps, {detail}"
            self.add(f"sampling a grid, ours{name}", count / taken, told, "sampling, pipeline calls one by one")

    def drawn(
        self, family: Any, prompts: list[str], seeds: list[int], steps: int, drawing: Drawing | None
    ) -> tuple[float, str]:
        """A grid's seconds; those that getting ready took, once for all grids of a `drawing`, are told beside it."""

        def grid() -> None:
            draw_tiles(family, prompts, seeds, steps, drawing=drawing)

        ready = f"the first after {self.seconds(grid):.0f} s, " if drawing else ""
        self.watch_memory()
        taken = min(self.seconds(grid) for _ in range(2))
        return taken, ready + self.memory()
