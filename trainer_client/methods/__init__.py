"""Training methods: what is trained, what a checkpoint holds and how it is loaded again, one file a method.

To add one: its options in `trainer_client.config.methods`, a file with a class that has everything `Method` lists, made
by `begin(family, config)`, and one line in `METHODS`.

Methods whose checkpoints are adapters also have `attach(family, folder, adapter)`, which puts one on its base to draw
with it or to go on, and `bake(family)`, which makes it a part of the base for another method to start from. Both return
the family to go on with; the one they are given shares its modules, and is of no more use.
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
    """A way to train, set up on a loaded family. Everything that isn't in `parameters` is frozen."""

    name: str
    family: Family  # With everything that the method puts on it.
    parameters: Mapping[str, nn.Parameter]  # What the optimiser moves: float32, in an order that never changes.
    encodes_text: bool  # Captions go through the text encoder in every step: their embeddings can't be cached.
    start: Mapping[str, str]  # What epoch 0 shows depends on the base and on this.

    def numbers_saved(self, first: bool) -> int:
        """How many numbers a checkpoint's own files hold; `first`: epoch 0's, which later ones may link to."""

    def save(self, folder: Path, dtype: torch.dtype, metadata: Mapping[str, str], first: Path | None) -> None:
        """Writes a checkpoint folder; weights as `dtype`, `metadata` in each safetensors header.

        `first` is epoch 0's folder, where there is one already: what training doesn't touch may be linked to it.
        """


def begin(family: Family, config: TrainConfig) -> Method:
    """Sets the family up for training as `config` says. The model computes what it did before."""
    adapter = family.identity.adapter
    if adapter is not None and adapter.method != config.method.name:
        family = bake(family)
    method: Method = _module(config.method.name).begin(family, config)
    return method


def bake(family: Family) -> Family:
    """Make what is attached a part of the model. It computes what it did before; its digest is that of both."""
    if family.identity.adapter is None:
        return family
    baked: Family = _module(family.identity.adapter.method).bake(family)
    return baked.identified(adapter=None)


def attach(family: Family, folder: Path, adapter: Adapter) -> Family:
    """Put a checkpoint's adapter on the family it was trained on; the digest is then that of both."""
    from trainer_client.models.adapter import combined

    digest = combined(family.digest, adapter)
    attached: Family = _module(adapter.method).attach(family, folder, adapter)
    return attached.identified(adapter=adapter, changed=digest)


def write_adapter(folder: Path, method: str, family: Family, settings: Mapping[str, Any], weights: Path) -> None:
    """Write the document beside the weights. A base that is itself an adapter is named by what lies under it."""
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


def freed(family: Family, modules: Mapping[str, nn.Module]) -> dict[str, nn.Parameter]:
    """Freezes the whole family, then frees these modules; gives their parameters by `<module>.<name>`.

    Modules stay in eval mode: a dropout layer would draw from a generator that a resume and a second track don't share.
    """
    parameters: dict[str, nn.Parameter] = {}
    for module in family.modules.values():
        module.requires_grad_(False).eval()
    for prefix, module in modules.items():
        module.requires_grad_(True)
        parameters |= {f"{prefix}.{name}": weight for name, weight in module.named_parameters()}
    return without_idle(family, parameters)


def without_idle(family: Family, parameters: Mapping[str, nn.Parameter]) -> dict[str, nn.Parameter]:
    """Freezes those whose output nothing reads, and gives the others: several processes would wait for their
    gradients."""
    idle = {id(weight) for module in family.idle() for weight in module.parameters()}
    for weight in parameters.values():
        if id(weight) in idle:
            weight.requires_grad_(False)
    return {name: weight for name, weight in parameters.items() if id(weight) not in idle}
