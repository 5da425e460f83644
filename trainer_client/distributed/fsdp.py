"""FSDP: each rank keeps a shard of weights, gradients and moments, and gathers layers for its passes.

accelerate's settings apply: wrapping policy, resharding after the forward pass, activation checkpointing. `fully_shard`
is used even for version 1 settings, whose flat parameters have no names to save or freeze by. The model to save, sample
and evaluate stays unsharded in main memory: at a checkpoint rank 0 gathers the weights.
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

WRAPPERS = ("module.", "_checkpoint_wrapped_module.")  # Prefixes that wrappers add to weight names.


class ShardedRoot(nn.Module):
    """A wrapper: `fully_shard` renames a module's class, which transformers needs for layer outputs."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)


def is_requested() -> bool:
    """Whether accelerate requests FSDP, without importing it."""
    return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def settings() -> Any:
    """Return accelerate's FSDP plugin. Raise BadOption for unsupported settings."""
    from accelerate import FullyShardedDataParallelPlugin

    with warnings.catch_warnings():  # Version 1's deprecation, which doesn't matter here.
        warnings.simplefilter("ignore", FutureWarning)
        try:
            plugin = FullyShardedDataParallelPlugin()
        except (RuntimeError, ValueError) as error:  # Version 1 without a GPU; unknown values.
            reason = str(error).strip().partition("\n")[0].rstrip(".")
            raise BadOption(f"accelerate's FSDP settings: {reason}. Use fsdp_version 2, or DDP.") from error
    offload = plugin.cpu_offload
    if isinstance(offload, CPUOffloadPolicy) or getattr(offload, "offload_params", False):
        raise BadOption("accelerate's fsdp_offload_params: offloading is not supported. Set it to false.")
    strategy = _strategy(plugin)
    if strategy not in (True, False, ShardingStrategy.FULL_SHARD, ShardingStrategy.SHARD_GRAD_OP):
        name = getattr(strategy, "name", strategy)
        raise BadOption(
            f"accelerate's fsdp_sharding_strategy {name}: not supported. Use FULL_SHARD or SHARD_GRAD_OP, or DDP."
        )
    return plugin


def _strategy(plugin: Any) -> Any:
    """Whether to reshard after the forward pass; for version 1 a `ShardingStrategy`."""
    return plugin.reshard_after_forward if plugin.sharding_strategy is None else plugin.sharding_strategy


class Sharded:
    """A method's modules, sharded: `parameters` by the method's names; `modules` run passes with gradients."""

    def __init__(self, method: Method, plugin: Any, device: torch.device, is_rank_zero: bool) -> None:
        self.method, self.device, self.is_rank_zero = method, device, is_rank_zero
        self.mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
        self.unsharded: list[nn.Module] = []
        self.modules: dict[str, nn.Module] = {}
        parts: dict[str, nn.Parameter] = {}
        keys = {id(weight): key for key, weight in method.parameters.items()}
        for component, module in method.family.modules.items():
            if not any(weight.requires_grad for weight in module.parameters()):
                continue
            names = {name: keys[id(weight)] for name, weight in module.named_parameters() if id(weight) in keys}
            sharded = self._shard(module.to("cpu"), plugin)
            shards = {_plain(name): weight for name, weight in sharded.named_parameters()}
            parts |= {key: shards[name] for name, key in names.items()}
            self.modules[component] = sharded
            self.unsharded.append(module)
        self.parameters = {key: parts[key] for key in method.parameters}

    def _shard(self, module: nn.Module, plugin: Any) -> nn.Module:
        """Return a sharded copy of the module."""
        sharded = copy.deepcopy(module)
        units = set(_units(sharded, plugin))
        if plugin.activation_checkpointing:
            apply_activation_checkpointing(sharded, check_fn=units.__contains__)
        reshard = _strategy(plugin)
        if isinstance(reshard, ShardingStrategy):
            reshard = reshard is ShardingStrategy.FULL_SHARD
        for unit in reversed([part for part in sharded.modules() if part in units]):  # Inner ones first.
            fully_shard(unit, mesh=self.mesh, reshard_after_forward=reshard)
        # The root keeps its weights until the backward pass: some are used after its own forward pass.
        root = ShardedRoot(sharded)
        fully_shard(root, mesh=self.mesh, reshard_after_forward=False)
        return root

    @contextmanager
    def gathered_weights(self) -> Iterator[None]:
        """Give rank 0's plain model the current weights. All ranks enter it together."""
        with torch.no_grad():
            for name, weight in self.parameters.items():
                full = gather_tensor(weight)
                if self.is_rank_zero:
                    self.method.parameters[name].copy_(full)
        if self.is_rank_zero:
            self._move(self.device)
        yield
        self._move(torch.device("cpu"))

    def _move(self, device: torch.device) -> None:
        for module in self.unsharded:
            module.to(device)


def _units(module: nn.Module, plugin: Any) -> list[nn.Module]:
    """Return the parts that the wrapping policy gathers together, without the module itself."""
    policy = getattr(plugin.auto_wrap_policy, "func", plugin.auto_wrap_policy)
    inner = [part for part in module.modules() if part is not module]
    if policy is size_based_auto_wrap_policy:
        minimum = plugin.min_num_params
        return [p for p in inner if _callable(p) and sum(w.numel() for w in p.parameters()) > minimum]
    if policy is transformer_auto_wrap_policy:
        # The configuration names layers of one model; here there may be several models.
        default_names = list(getattr(module, "_no_split_modules", None) or [])
        for names in (plugin.transformer_cls_names_to_wrap or [], default_names):
            if parts := [part for part in inner if type(part).__name__ in names]:
                return parts
    return []


def _callable(part: nn.Module) -> bool:
    """Whether a part has a forward pass to gather weights in. For models see `ShardedRoot`."""
    return not isinstance(part, nn.ModuleList | nn.ModuleDict) and not hasattr(part, "_can_record_outputs")


def _plain(name: str) -> str:
    """Return a name without wrapper prefixes."""
    outer, inner = WRAPPERS
    return name.removeprefix(outer).replace(inner, "")


def gather_tensor(value: Tensor) -> Tensor:
    """Return the full tensor; all ranks call this together."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def shard_like(value: Tensor, part: Tensor) -> Tensor:
    """Shard a full tensor like `part`, if that is sharded."""
    if not isinstance(part, DTensor):
        return value
    value = value.to(part.device)
    return distribute_tensor(value, part.device_mesh, part.placements, src_data_rank=None)


def gather(tensors: Mapping[str, Tensor], keep: bool) -> dict[str, Tensor]:
    """Gather all tensors, into main memory if sharded; return them only if `keep`."""
    tensors_by_name: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        value = gather_tensor(tensor)
        if keep:
            tensors_by_name[name] = value.cpu() if isinstance(tensor, DTensor) else value
    return tensors_by_name
