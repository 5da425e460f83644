"""FSDP: each rank keeps a shard of the trained weights, gradients and moments, and gathers layers for its passes.

accelerate's FSDP settings apply: which layers are gathered together (wrapping policy), resharding after the forward
pass, activation checkpointing. PyTorch's `fully_shard` does the work even for version 1 settings, whose flat parameters
would have no names to save, average or freeze by.

The model that is saved, sampled and evaluated stays unsharded, in main memory during training: at a checkpoint all
ranks gather the weights into rank 0's.
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
    """A wrapper of a sharded module.

    `fully_shard` renames its module's class, by which transformers looks up the outputs of a model's layers.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)


def is_requested() -> bool:
    """Whether accelerate's configuration requests FSDP. Doesn't import accelerate."""
    return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def settings() -> Any:
    """Return accelerate's FSDP plugin from the launcher's environment. Raise BadOption for unsupported settings."""
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
    """Return whether weights are resharded after the forward pass; for version 1 as a `ShardingStrategy`."""
    return plugin.reshard_after_forward if plugin.sharding_strategy is None else plugin.sharding_strategy


class Sharded:
    """The sharded modules of a method: `parameters` are this rank's shards, by the method's names; `modules` run passes
    with gradients, by component."""

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
        """Return a copy of the module, sharded over the ranks."""
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
        """Give rank 0's unsharded model the current weights while entered. All ranks enter it together."""
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
    """Return the parts whose weights are gathered together by the wrapping policy, besides the module itself."""
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
    """Whether a part has a forward pass in which to gather weights: lists of layers have none. For models see
    `ShardedRoot`."""
    return not isinstance(part, nn.ModuleList | nn.ModuleDict) and not hasattr(part, "_can_record_outputs")


def _plain(name: str) -> str:
    """Return a weight's name without wrapper prefixes."""
    outer, inner = WRAPPERS
    return name.removeprefix(outer).replace(inner, "")


def gather_tensor(value: Tensor) -> Tensor:
    """Return the full tensor. If it is sharded, all ranks call this together."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def shard_like(value: Tensor, part: Tensor) -> Tensor:
    """Return a full tensor sharded like `part`, or unchanged if `part` isn't sharded."""
    if not isinstance(part, DTensor):
        return value
    value = value.to(part.device)
    return distribute_tensor(value, part.device_mesh, part.placements, src_data_rank=None)


def gather(tensors: Mapping[str, Tensor], keep: bool) -> dict[str, Tensor]:
    """Gather each tensor, sharded ones into main memory. Return them only if `keep`; other ranks only take part."""
    tensors_by_name: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        value = gather_tensor(tensor)
        if keep:
            tensors_by_name[name] = value.cpu() if isinstance(tensor, DTensor) else value
    return tensors_by_name
