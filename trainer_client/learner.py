"""One optimiser step after another: gradients, clipping, AdamW, the moving average. Knows neither files nor epochs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from trainer_client.graphed import Graphed, worth_it
from trainer_client.processes import Processes
from trainer_client.schedule import Plan, ema_decay, learning_rate
from trainer_client.sharding import gathered, like, whole

if TYPE_CHECKING:
    from torch import Tensor

    from trainer_client.config import TrainConfig
    from trainer_client.draws import Drawn, Step, TrainingSet
    from trainer_client.methods import Method


class Learner:
    """The weights in training, fp32, with their optimiser. `step` counts the optimiser steps done."""

    def __init__(self, method: Method, config: TrainConfig, plan: Plan, processes: Processes | None = None) -> None:
        self.processes = processes or Processes(config)
        self.parameters = self.processes.wrap(method)
        self.family, self.config, self.plan = method.family, config, plan
        self.step = 0
        self.optimiser = torch.optim.AdamW(
            self.parameters.values(),
            lr=config.learning_rate,
            betas=(config.beta1, config.beta2),
            eps=config.epsilon,
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.average = {name: weight.detach().clone() for name, weight in self.parameters.items()} if config.ema else {}
        weights = list(self.parameters.values())
        recorded = worth_it(config.cuda_graph, self.family.denoiser) and not method.encodes_text
        recorded = recorded and self.processes.count == 1
        self.graphed = Graphed(self._backward, weights) if recorded else None
        self.images_at_once = config.batch_size
        self.finite = torch.ones((), dtype=torch.bool, device=self.family.device)

    def learn(self, data: TrainingSet, drawn: Step) -> Tensor:
        """One step on the images drawn; returns the sum of their losses, still on the device.

        The gradient is the sum of the images' gradients over the images of a full step: in a short last step every
        image counts as much as in any other, and nothing is dropped.
        """
        loss_sum = self._gradients(data, drawn)
        while loss_sum is None:
            loss_sum = self._gradients(data, drawn)
        self._update(loss_sum)
        return loss_sum

    def _gradients(self, data: TrainingSet, drawn: Step) -> Tensor | None:
        """The step's gradients and the sum of its losses; None where memory gave out and smaller batches may fit."""
        loss_sum = torch.zeros((), dtype=torch.float64, device=self.family.device)
        try:
            batches = self.processes.passes(drawn, self.images_at_once)
            for number, micro in enumerate(batches, start=1):
                with self.processes.adding_up(last=number == len(batches)):
                    text_BTD = data.embedded(self.family, micro.captions_B)
                    losses_B = (self.graphed or self._backward)(micro, text_BTD)
                loss_sum += losses_B.double().sum()
            return self.processes.total(loss_sum)
        except torch.OutOfMemoryError:
            if not self.config.auto_batch or self.images_at_once == 1:
                raise
        # Out of the handler, since the error's frames hold the tensors that took the memory.
        self.images_at_once = -(-self.images_at_once // 2)
        self.optimiser.zero_grad(set_to_none=True)
        if self.graphed:
            self.graphed = Graphed(self._backward, list(self.parameters.values()))
        if self.family.device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _backward(self, micro: Drawn, text_BTD: Tensor) -> Tensor:
        """The weighted mean squared error of each image, (B,); adds its gradient to the parameters'."""
        predicted_BCHW = self.family.predict(micro.noisy_BCHW, micro.timesteps_B, text_BTD, micro.sizes_B6)
        errors_BCHW = (predicted_BCHW - micro.target_BCHW).square()
        if micro.mask_B1HW is not None:
            errors_BCHW = errors_BCHW * micro.mask_B1HW
        losses_B = errors_BCHW.mean(dim=(1, 2, 3)) * micro.weights_B
        summed = losses_B.sum() * self.processes.count  # The processes' gradients are averaged.
        (summed / self.plan.full_step_images).backward()  # type: ignore[no-untyped-call]
        return losses_B.detach()

    def _update(self, loss_sum: Tensor) -> None:
        limit = self.config.clip_norm or float("inf")
        norm = whole(torch.nn.utils.clip_grad_norm_(self.parameters.values(), limit, foreach=True))
        self.finite &= norm.isfinite() & loss_sum.isfinite()
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.config, self.plan, self.step)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=self.graphed is None)
        if self.average:
            weights = [weight.detach() for weight in self.parameters.values()]
            torch._foreach_lerp_(list(self.average.values()), weights, 1 - ema_decay(self.config, self.step))
        self.step += 1

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """While entered, the model has the moving average's weights (where there is one)."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, average in self.average.items():
            weight = self.parameters[name]
            kept = weight.detach().clone()
            weight.copy_(average)
            average.copy_(kept)

    def tensors(self) -> dict[str, Tensor]:
        """What a resume needs beside the step: weights, both moments, the average; whole, in the first process.

        All processes call it together.
        """
        found = {f"weight/{name}": weight.detach() for name, weight in self.parameters.items()}
        for name, weight in self.parameters.items():
            moments = self.optimiser.state.get(weight, {})
            found |= {f"{moment}/{name}": moments[moment] for moment in ("exp_avg", "exp_avg_sq") if moment in moments}
        found |= {f"average/{name}": average for name, average in self.average.items()}
        return gathered(found, kept=self.processes.first)

    @torch.no_grad()
    def restore(self, tensors: dict[str, Tensor], step: int) -> None:
        """Goes back to what `tensors` gave after `step` steps."""
        self.step = step
        for name, weight in self.parameters.items():
            weight.copy_(like(tensors[f"weight/{name}"], weight))
            if f"exp_avg/{name}" in tensors:
                self.optimiser.state[weight] = {
                    "step": torch.tensor(float(step), dtype=torch.float32, device=weight.device),
                    "exp_avg": like(tensors[f"exp_avg/{name}"], weight),
                    "exp_avg_sq": like(tensors[f"exp_avg_sq/{name}"], weight),
                }
        for name, average in self.average.items():
            average.copy_(like(tensors[f"average/{name}"], average))
