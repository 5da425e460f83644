"""One optimiser step after another: gradients, clipping, AdamW, the moving average. Knows neither files nor epochs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from schemas.progress import Progress
from trainer_client.config import TrainConfig
from trainer_client.data.batches import Batch, Step, TrainingSet
from trainer_client.data.plan import Plan
from trainer_client.distributed.all_reduce import FlatGradients
from trainer_client.distributed.fsdp import gather, gather_tensor, shard_like
from trainer_client.distributed.processes import Processes, RankModules
from trainer_client.methods import Method
from trainer_client.performance import bf16_copy, cuda_graphs
from trainer_client.performance.cuda_graphs import GraphedBackward, GraphedUpdate
from trainer_client.performance.torch_compile import Blocks
from trainer_client.train.schedule import ema_decay, learning_rate


class Learner:
    """The weights in training, fp32, with their optimiser. `step` counts the optimiser steps done.

    `compiled` says that the denoiser's blocks are, or will be: their kernels are then worth recording at any size.
    """

    def __init__(
        self,
        method: Method,
        config: TrainConfig,
        plan: Plan,
        processes: Processes | None = None,
        compiled: bool = False,
    ) -> None:
        self.processes = processes or Processes(config)
        self.family, self.config, self.plan = method.family, config, plan
        options = config.optimiser
        self.step = 0
        here = not self.processes.is_sharded
        denoiser, dtype = self.family.denoiser, self.family.dtype
        rounded = here and bf16_copy.worth_it(config.hardware.bf16_copy, denoiser, dtype)
        compiled, rounded = map(self.processes.all, (here and compiled, rounded))
        # Of pictures in many sizes, a large model's passes would be recorded for each size and number of images.
        recorded = cuda_graphs.worth_it(config.hardware.cuda_graph, denoiser, compiled and not config.data.buckets)
        self.recorded = recorded and here and not method.encodes_text_each_step
        adds_up = self.processes.count > 1 and (compiled or rounded or self.recorded)
        own = RankModules(method.parameters, self.family.modules)
        wrapped = own if adds_up else self.processes.wrap(method)
        self.parameters, self.modules = wrapped.parameters, wrapped.modules
        self.blocks, self.working = None, None
        if rounded or compiled:
            self.working = bf16_copy.DenoiserCopy(denoiser, self.parameters, dtype if rounded else None, compiled)
            self.modules = {**self.modules, bf16_copy.COMPONENT: self.working.module}
        if compiled and self.working:
            self.blocks = Blocks(self.working.module, open_sizes=config.data.buckets)
        self.added = FlatGradients(self.parameters.values()) if adds_up else None
        if self.added and self.working:
            self.working.refresh()
        # Recorded kernels read the rate from the device.
        rate = torch.zeros((), device=self.family.device) if self.recorded else config.method.learning_rate
        self.optimiser = torch.optim.AdamW(
            self.parameters.values(),
            lr=rate,
            betas=(options.beta1, options.beta2),
            eps=options.epsilon,
            weight_decay=options.weight_decay,
            fused=True,
            capturable=self.recorded,
        )
        averaged = self.parameters if options.ema else {}
        self.average = {name: weight.detach().clone() for name, weight in averaged.items()}
        self.gain = torch.zeros((), device=self.family.device)  # What it takes of the weights at a recorded step.
        self.images_at_once = self.processes.largest_pass(options.batch_size, plan)
        self.finite = torch.ones((), dtype=torch.bool, device=self.family.device)
        self._record_anew()

    @property
    def lowered(self) -> bool:
        """Whether memory gave out, and passes are smaller since."""
        return self.images_at_once < self.processes.largest_pass(self.config.optimiser.batch_size, self.plan)

    def rate(self, step: int) -> float:
        """Return the learning rate of optimiser step `step` (from 0)."""
        return learning_rate(self.config.method.learning_rate, self.config.schedule, self.plan, step)

    def compile(self, data: TrainingSet, drawn: Step, progress: Progress) -> None:
        """Has the blocks compiled, by passes over a step's images that leave no trace. Nothing to do where none are."""
        if self.blocks is None:
            return
        with self.blocks.watch(progress):
            micro = self._whole(next(drawn.split(self.images_at_once)))
            self._backward(micro, data.embedded(self.family, micro.captions_B, self.modules), True)
        self._clear()

    def _record_anew(self) -> None:
        """Forgets what was recorded, and with it the memory that it holds."""
        weights = list(self.parameters.values())
        self.graphed = GraphedBackward(self._backward, weights) if self.recorded else None
        self.moved = GraphedUpdate(self._move) if self.recorded else self._move

    def release(self) -> None:
        """Gives back the memory of a large model's recorded passes, which pictures and measures may need."""
        if self.graphed and not cuda_graphs.is_small(self.family.denoiser):
            self._clear()
            self._record_anew()
            torch.cuda.empty_cache()

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
            for number, part in enumerate(batches, start=1):
                micro = self._whole(part)
                with self.processes.gradient_sync(last=number == len(batches)):
                    text_BTD = data.embedded(self.family, micro.captions_B, self.modules)
                    losses_B = (self.graphed or self._backward)(micro, text_BTD, number == 1)
                loss_sum += losses_B.double().sum()
            if self.added:
                self.added.all_reduce()
            return self.processes.total(loss_sum)
        except torch.OutOfMemoryError:
            if not self.config.optimiser.auto_batch or self.images_at_once == 1:
                raise
        # Out of the handler, since the error's frames hold the tensors that took the memory.
        self.images_at_once = -(-self.images_at_once // 2)
        self._clear()
        self._record_anew()
        if self.family.device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _whole(self, micro: Batch) -> Batch:
        """A short batch filled up with images that count nothing, where another size would be compiled anew."""
        return micro if self.blocks is None or self.config.data.buckets else micro.padded(self.images_at_once)

    def _backward(self, micro: Batch, text_BTD: Tensor, first: bool = True) -> Tensor:
        """The weighted mean squared error of each image, (B,); adds its gradient to the parameters'.

        `first` are a step's first passes, which need no zeros to add to.
        """
        predicted_BCHW = self.family.predict(
            self.modules["denoiser"], micro.noisy_BCHW, micro.timesteps_B, text_BTD, micro.sizes_B6
        )
        errors_BCHW = (predicted_BCHW - micro.target_BCHW).square()
        if micro.mask_B1HW is not None:
            errors_BCHW = errors_BCHW * micro.mask_B1HW
        losses_B = errors_BCHW.mean(dim=(1, 2, 3)) * micro.weights_B
        # DDP and FSDP average the processes' gradients.
        summed = losses_B.sum() * (1 if self.added else self.processes.count)
        (summed / self.plan.full_step_images).backward()  # type: ignore[no-untyped-call]
        if self.working:
            self.working.collect(first)
        return losses_B.detach()

    def _update(self, loss_sum: Tensor) -> None:
        rate = self.rate(self.step)
        for group in self.optimiser.param_groups:
            if self.recorded:
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
        if self.recorded and self.average:
            self.gain.fill_(1 - ema_decay(self.config.optimiser.ema_decay, self.step))
        self.moved(loss_sum)
        self.step += 1

    def _move(self, loss_sum: Tensor) -> None:
        """Clips, moves the weights, their average and their copy; leaves no gradient. Waits for nothing."""
        limit = self.config.optimiser.clip_norm or float("inf")
        norm = gather_tensor(torch.nn.utils.clip_grad_norm_(self.parameters.values(), limit, foreach=True))
        self.finite &= norm.isfinite() & loss_sum.isfinite()
        self.optimiser.step()
        if not self.recorded:
            self._clear()
        elif added := [weight.grad for weight in self._uncopied() if weight.grad is not None]:
            torch._foreach_zero_(added)
        if self.average:
            weights = [weight.detach() for weight in self.parameters.values()]
            averages = list(self.average.values())
            if self.recorded:  # Recorded kernels read what they take of the weights from the device.
                torch._foreach_add_(averages, torch._foreach_mul(torch._foreach_sub(weights, averages), self.gain))
            else:
                torch._foreach_lerp_(averages, weights, 1 - ema_decay(self.config.optimiser.ema_decay, self.step))
        if self.working:
            self.working.refresh()

    def _clear(self) -> None:
        if self.added:
            self.added.zero()
        else:
            self.optimiser.zero_grad(set_to_none=True)

    def _uncopied(self) -> list[Tensor]:
        """The weights that no copy stands for."""
        copied = {id(weight) for weight in self.working.masters} if self.working else set()
        return [weight for weight in self.parameters.values() if id(weight) not in copied]

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """While entered, the model has the moving average's weights (where there is one), and memory to draw with."""
        self.release()
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
        made = gather(found, keep=self.processes.is_rank_zero)
        return {name: tensor.contiguous() for name, tensor in made.items()}  # As files have them.

    @torch.no_grad()
    def restore(self, tensors: dict[str, Tensor], step: int) -> None:
        """Goes back to what `tensors` gave after `step` steps."""
        self.step = step
        for name, weight in self.parameters.items():
            weight.copy_(shard_like(tensors[f"weight/{name}"], weight))
            if f"exp_avg/{name}" in tensors:
                self.optimiser.state[weight] = {
                    "step": torch.tensor(float(step), dtype=torch.float32, device=weight.device),
                    "exp_avg": torch.empty_like(weight).copy_(shard_like(tensors[f"exp_avg/{name}"], weight)),
                    "exp_avg_sq": torch.empty_like(weight).copy_(shard_like(tensors[f"exp_avg_sq/{name}"], weight)),
                }
        for name, average in self.average.items():
            average.copy_(shard_like(tensors[f"average/{name}"], average))
        if self.working:
            self.working.refresh()
        self._record_anew()
