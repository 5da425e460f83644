"""FSDP: each process keeps its part of the trained modules' weights, gradients and moments, and borrows the rest.

What `accelerate config` says of FSDP is kept to: which layers are borrowed together (the wrapping policy), whether
their weights are given back after the forward pass, activation checkpointing. PyTorch's `fully_shard` does the work,
also where the configuration is of version 1: its flat parameters would have no names to save, average or freeze by.

The model that is saved, drawn with and measured stays a plain one, in main memory while training goes on: at a
checkpoint all processes gather the weights into the first one's.
"""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import apply_activation_checkpointing
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, ShardingStrategy, fully_shard
from torch.distributed.fsdp.wrap import size_based_auto_wrap_policy, transformer_auto_wrap_policy
from torch.distributed.tensor import DTensor, distribute_tensor

from schemas.errors import BadOption
from trainer_client.methods import Method

WRAPPERS = ("module.", "_checkpoint_wrapped_module.")  # What is put into the names of weights.


class Outermost(nn.Module):
    """Round a sharded module. `fully_shard` renames the class of what it is given, and transformers looks up by a
    model's class which of its layers' outputs it can give."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)


def asked_for() -> bool:
    """Whether accelerate's configuration asks for FSDP; found out without loading it."""
    return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def settings() -> Any:
    """accelerate's FSDP plugin, as its launcher's environment fills it in. Raises BadOption for what isn't kept to."""
    from accelerate import FullyShardedDataParallelPlugin

    with warnings.catch_warnings():  # Of version 1 that it is going out of use: it isn't used here.
        warnings.simplefilter("ignore", FutureWarning)
        try:
            plugin = FullyShardedDataParallelPlugin()
        except (RuntimeError, ValueError) as error:  # Of version 1, that there is no GPU; of values that aren't known.
            reason = str(error).strip().partition("\n")[0].rstrip(".")
            raise BadOption(f"accelerate's FSDP settings: {reason}. Use fsdp_version 2, or DDP.") from error
    offload = plugin.cpu_offload
    if isinstance(offload, CPUOffloadPolicy) or getattr(offload, "offload_params", False):
        raise BadOption("accelerate's fsdp_offload_params: weights stay on the GPUs here. Set it to false.")
    strategy = _strategy(plugin)
    if strategy not in (True, False, ShardingStrategy.FULL_SHARD, ShardingStrategy.SHARD_GRAD_OP):
        name = getattr(strategy, "name", strategy)
        raise BadOption(f"accelerate's fsdp_sharding_strategy {name}: give FULL_SHARD or SHARD_GRAD_OP, or use DDP.")
    return plugin


def _strategy(plugin: Any) -> Any:
    """Whether weights are given back after the forward pass; of version 1 a `ShardingStrategy` that says it."""
    return plugin.reshard_after_forward if plugin.sharding_strategy is None else plugin.sharding_strategy


class Sharded:
    """The modules a method trains, in parts: `parameters` are this process's, by the method's names; `modules` are
    what passes with gradients go through, by component."""

    def __init__(self, method: Method, plugin: Any, device: torch.device, first: bool) -> None:
        self.method, self.device, self.first = method, device, first
        self.mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
        self.plain: list[nn.Module] = []
        self.modules: dict[str, nn.Module] = {}
        parts: dict[str, nn.Parameter] = {}
        keys = {id(weight): key for key, weight in method.parameters.items()}
        for component, module in method.family.modules.items():
            if not any(weight.requires_grad for weight in module.parameters()):
                continue
            names = {name: keys[id(weight)] for name, weight in module.named_parameters() if id(weight) in keys}
            sharded = self._sharded(module.to("cpu"), plugin)
            own = {_plain(name): weight for name, weight in sharded.named_parameters()}
            parts |= {key: own[name] for name, key in names.items()}
            self.modules[component] = sharded
            self.plain.append(module)
        self.parameters = {key: parts[key] for key in method.parameters}

    def _sharded(self, module: nn.Module, plugin: Any) -> nn.Module:
        """A copy of the module, spread over the processes."""

        spread = copy.deepcopy(module)
        units = set(_units(spread, plugin))
        if plugin.activation_checkpointing:
            apply_activation_checkpointing(spread, check_fn=units.__contains__)
        given_back = _strategy(plugin)
        if isinstance(given_back, ShardingStrategy):
            given_back = given_back is ShardingStrategy.FULL_SHARD
        for unit in reversed([found for found in spread.modules() if found in units]):  # Inner ones first.
            fully_shard(unit, mesh=self.mesh, reshard_after_forward=given_back)
        # The outermost keeps its weights until the way back: some are used again after its own forward pass.
        outermost = Outermost(spread)
        fully_shard(outermost, mesh=self.mesh, reshard_after_forward=False)
        return outermost

    @contextmanager
    def shown(self) -> Iterator[None]:
        """While entered, the first process's plain model has the present weights. All processes enter it together."""
        with torch.no_grad():
            for name, weight in self.parameters.items():
                gathered = whole(weight)
                if self.first:
                    self.method.parameters[name].copy_(gathered)
        if self.first:
            self._move(self.device)
        yield
        self._move(torch.device("cpu"))

    def _move(self, device: torch.device) -> None:
        for module in self.plain:
            module.to(device)


def _units(module: nn.Module, plugin: Any) -> list[nn.Module]:
    """The parts whose weights are borrowed together, as the wrapping policy has it, beside the module itself."""
    policy = getattr(plugin.auto_wrap_policy, "func", plugin.auto_wrap_policy)
    inner = [part for part in module.modules() if part is not module]
    if policy is size_based_auto_wrap_policy:
        least = plugin.min_num_params
        return [p for p in inner if _callable(p) and sum(w.numel() for w in p.parameters()) > least]
    if policy is transformer_auto_wrap_policy:
        # A configuration names the layers of one kind of model; there may be several here.
        own = list(getattr(module, "_no_split_modules", None) or [])
        for names in (plugin.transformer_cls_names_to_wrap or [], own):
            if found := [part for part in inner if type(part).__name__ in names]:
                return found
    return []


def _callable(part: nn.Module) -> bool:
    """Lists of layers have no forward pass of their own that could borrow weights; of models see `Outermost`."""
    return not isinstance(part, nn.ModuleList | nn.ModuleDict) and not hasattr(part, "_can_record_outputs")


def _plain(name: str) -> str:
    """A weight's name without what wraps its module."""
    outer, inner = WRAPPERS
    return name.removeprefix(outer).replace(inner, "")


def whole(value: Tensor) -> Tensor:
    """The tensor itself, or what the processes' parts make together; then all processes call this together."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def like(value: Tensor, part: Tensor) -> Tensor:
    """A whole tensor as `part` is: whole, or this process's part of it."""
    if not isinstance(part, DTensor):
        return value
    value = value.to(part.device)
    return distribute_tensor(value, part.device_mesh, part.placements, src_data_rank=None)


def gathered(tensors: Mapping[str, Tensor], kept: bool) -> dict[str, Tensor]:
    """The whole of each tensor, in main memory where it was in parts; nothing but the gathering unless `kept`."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        value = whole(tensor)
        if kept:
            found[name] = value.cpu() if isinstance(tensor, DTensor) else value
    return found
