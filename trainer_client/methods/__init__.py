"""Training methods, one file each. To add one: its options in `trainer_client.config.methods`, a file with a class that
implements `Method` and a `begin(family, config)`, and a line in `METHODS`.

Methods with adapters also have `attach(family, folder, adapter)`, which puts an adapter on its base, and
`bake(family)`, which merges it into the base. Both return the family to use; drop the one passed in, which shares its
modules.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from trainer_client.config import TrainConfig
from trainer_client.models import Family
from trainer_client.models.adapter import Adapter

METHODS = {  # --method -> module
    "full": "trainer_client.methods.full",
    "lora": "trainer_client.methods.lora",
    "dreambooth": "trainer_client.methods.dreambooth",
    "textual-inversion": "trainer_client.methods.textual_inversion",
}


class Method(Protocol):
    """A training method on a loaded family. Everything outside `parameters` is frozen."""

    name: str
    family: Family  # With the layers or words that the method adds.
    parameters: Mapping[str, nn.Parameter]  # Trained, float32, in a fixed order.
    encodes_text_each_step: bool  # Embeddings change in training: they can't be cached.
    start: Mapping[str, str]  # Besides the base, all that samples at epoch 0 depend on.

    def numbers_saved(self, first: bool) -> int:
        """Return how many numbers a checkpoint's files hold; `first` for epoch 0."""

    def save(self, folder: Path, dtype: torch.dtype, metadata: Mapping[str, str], first: Path | None) -> None:
        """Write a checkpoint folder. Untrained parts may be links to `first`, epoch 0's folder."""


def begin(family: Family, config: TrainConfig) -> Method:
    """Set the family up for training, without changing its output."""
    adapter = family.identity.adapter
    if adapter is not None and adapter.method != config.method.name:
        family = bake(family)
    method: Method = _module(config.method.name).begin(family, config)
    return method


def bake(family: Family) -> Family:
    """Merge the attached adapter into the model; the digest is that of both."""
    if family.identity.adapter is None:
        return family
    baked: Family = _module(family.identity.adapter.method).bake(family)
    return baked.identified(adapter=None)


def attach(family: Family, folder: Path, adapter: Adapter) -> Family:
    """Put an adapter on its base; the digest is that of both."""
    from trainer_client.models.adapter import combined

    digest = combined(family.digest, adapter)
    attached: Family = _module(adapter.method).attach(family, folder, adapter)
    return attached.identified(adapter=adapter, changed=digest)


def write_adapter(folder: Path, method: str, family: Family, settings: Mapping[str, Any], weights: Path) -> None:
    """Write `adapter.json`. If the base is an adapter too, record that adapter's base."""
    from schemas.digest import sha256_file
    from schemas.document import FileRef
    from schemas.run import BaseModelRef
    from trainer_client.models.adapter import FILE, Adapter

    identity, under = family.identity, family.identity.adapter
    base = BaseModelRef(name=family.base, family=family.name, digest=family.digest, revision=identity.revision)
    reference = FileRef(path=weights.name, sha256=sha256_file(weights), size_bytes=weights.stat().st_size)
    Adapter(
        method=method,
        base=under.base if under else base,
        base_folder=under.base_folder if under else str(identity.located.resolve()),
        settings=dict(settings),
        weights=reference,
    ).write(folder / FILE)
    family.conventions.save(folder)


def _module(name: str) -> Any:
    return importlib.import_module(METHODS[name])


def unfreeze(family: Family, modules: Mapping[str, nn.Module]) -> dict[str, nn.Parameter]:
    """Freeze all but these modules. Return their parameters by `<module>.<name>`.

    Modules stay in eval mode: dropout would use a generator that a resumed run does not share.
    """
    parameters: dict[str, nn.Parameter] = {}
    for module in family.modules.values():
        module.requires_grad_(False).eval()
    for prefix, module in modules.items():
        module.requires_grad_(True)
        parameters |= {f"{prefix}.{name}": weight for name, weight in module.named_parameters()}
    return freeze_unread(family, parameters)


def freeze_unread(family: Family, parameters: Mapping[str, nn.Parameter]) -> dict[str, nn.Parameter]:
    """Freeze parameters whose output is never read, since ranks would wait for their gradients. Return the others."""
    unread_modules = {id(weight) for module in family.unread_modules() for weight in module.parameters()}
    for weight in parameters.values():
        if id(weight) in unread_modules:
            weight.requires_grad_(False)
    return {name: weight for name, weight in parameters.items() if id(weight) not in unread_modules}
