"""How fast this device is at what a run consists of, by doing a few of each: what `check` bases its estimate on.

The training step is a real one (forward, backward, clipping, AdamW) on random data, with a learning rate of zero: it
takes the memory and the time of a step and leaves every weight as it was.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from schemas.errors import AmatlError
from schemas.progress import Progress, silent
from trainer_client.config import TrainConfig
from trainer_client.data.batches import Batch
from trainer_client.data.images import pixels
from trainer_client.data.snapshot import Row
from trainer_client.device import synchronise
from trainer_client.methods import Method
from trainer_client.models import Family
from trainer_client.performance.cuda_graphs import GraphedBackward, worth_it

BUDGET_SECONDS = 2.0  # For each of the four measurements, after one call to warm up.
SHORT_BUDGET_SECONDS = 0.3  # The same at the start of a run, where a rough figure will do.
MOST_CALLS = 5
ENCODED = 4  # Pictures encoded to measure encoding.


class NotEnoughMemory(AmatlError):
    """The device's memory is too small for this run."""


@dataclass(frozen=True)
class Pace:
    """Seconds each thing takes."""

    step: float  # a training step of one batch
    forward: float  # one picture through the denoiser
    decoding: float  # one picture out of the autoencoder
    encoding: float  # one image read and into the autoencoder, with its mirror image


def measure_pace(
    method: Method,
    rows: Sequence[Row],
    batch_size: int,
    background: str = "white",
    progress: Progress = silent,
    cuda_graph: str = "auto",
    budget_seconds: float | None = None,
) -> Pace:
    """Times a few calls of each, for about `budget_seconds`. Raises NotEnoughMemory where a batch doesn't fit."""
    budget_seconds = BUDGET_SECONDS if budget_seconds is None else budget_seconds
    family = method.family
    draw = torch.Generator().manual_seed(0)
    latents = torch.randn(batch_size, *family.latent_shape, generator=draw).to(family.device)
    ids = family.tokenise([""] * batch_size)
    timesteps = torch.randint(family.train_timesteps, (batch_size,), generator=draw).to(family.device)
    with torch.no_grad():
        text = family.encode_text(ids)
    some, denoise = rows[:ENCODED], partial(family.predict, family.denoiser)

    def forward() -> None:
        with torch.no_grad(), family.autocast():
            denoise(latents, timesteps, text)

    def picture() -> None:
        one_step = family.sample(denoise, text[:1], text[:1], latents[:1], 1, 1.0)  # a step and the decoder
        assert len(one_step) == 1

    def encode() -> None:
        pictures = [torch.from_numpy(pixels(row, family.resolution_px, background)) for row in some]
        pixels_BCHW = torch.stack(pictures).permute(0, 3, 1, 2).to(family.device).float() / 127.5 - 1
        with torch.no_grad():
            family.encode_images(torch.cat((pixels_BCHW, pixels_BCHW.flip(3))))

    step = TrainingStep(method, latents, timesteps, ids, text, cuda_graph)
    work: list[Callable[[], None]] = [step, forward, picture, encode]
    seconds = []
    try:
        for done, call in enumerate(work):
            progress("timing this device", done, len(work))
            seconds.append(_seconds(call, family.device, budget_seconds))
        progress("timing this device", len(work), len(work))
    except torch.OutOfMemoryError as error:
        raise NotEnoughMemory(
            f"A batch of {batch_size} at {family.resolution_px} px doesn't fit the memory of {family.device}. Use"
            " --auto-batch, or a smaller --batch-size with --accumulation to make up for it."
        ) from error
    finally:
        step.undo()
    return Pace(seconds[0], seconds[1] / batch_size, seconds[2], seconds[3] / max(1, len(some)))


def trained_name(family: Family, config: TrainConfig) -> str:
    """What names the compiled passes of training, once its method has begun with the family."""
    processes = os.environ.get("WORLD_SIZE", "1")
    return family.compile_key(
        config.method.name, config.optimiser.batch_size, config.data.buckets, config.hardware.bf16_copy, processes
    )


class TrainingStep:
    """A training step that changes no weight. Call `undo` at the end."""

    def __init__(
        self,
        method: Method,
        latents_BCHW: torch.Tensor,
        timesteps_B: torch.Tensor,
        ids_BT: torch.Tensor,
        text_BTD: torch.Tensor,
        cuda_graph: str,
    ) -> None:
        family = method.family
        self.family, self.ids = family, ids_BT
        weights_B = torch.ones(len(timesteps_B), device=family.device)
        none_B = torch.zeros_like(timesteps_B)
        side_px = torch.full_like(timesteps_B, family.resolution_px)
        sizes_B6 = torch.stack((side_px, side_px, none_B, none_B, side_px, side_px), dim=1)
        self.batch = Batch(latents_BCHW, latents_BCHW, timesteps_B, weights_B, none_B, sizes_B6)
        self.parameters = list(method.parameters.values())
        self.optimiser = torch.optim.AdamW(self.parameters, lr=0.0, weight_decay=0.0, fused=True)
        self.text = None if method.encodes_text_each_step else text_BTD
        recorded = not method.encodes_text_each_step and worth_it(cuda_graph, family.denoiser)
        self.graphed = GraphedBackward(self._backward, self.parameters) if recorded else None

    def __call__(self) -> None:
        text_BTD = self.family.encode_text(self.ids) if self.text is None else self.text
        (self.graphed or self._backward)(self.batch, text_BTD, True)
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0, foreach=True)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=self.graphed is None)

    def _backward(self, drawn: Batch, text_BTD: torch.Tensor, first: bool) -> torch.Tensor:
        predicted_BCHW = self.family.predict(
            self.family.denoiser, drawn.noisy_BCHW, drawn.timesteps_B, text_BTD, drawn.sizes_B6
        )
        losses_B = (predicted_BCHW - drawn.target_BCHW).square().mean(dim=(1, 2, 3)) * drawn.weights_B
        losses_B.mean().backward()  # type: ignore[no-untyped-call]
        return losses_B.detach()

    def undo(self) -> None:
        """Leaves no gradient behind."""
        self.graphed = None
        self.optimiser.zero_grad(set_to_none=True)


def _seconds(call: Callable[[], None], device: torch.device, budget_seconds: float) -> float:
    """Seconds a call takes: the mean of a few, after one that doesn't count."""
    call()
    synchronise(device)
    began = time.monotonic()
    calls = 0
    while calls == 0 or (calls < MOST_CALLS and time.monotonic() - began < budget_seconds):
        call()
        synchronise(device)
        calls += 1
    return (time.monotonic() - began) / calls
