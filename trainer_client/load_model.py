"""What a run starts from, and what a checkpoint is loaded from: one door for every kind of model there is.

A name is resolved in this order: a run's folder (its last checkpoint), a checkpoint that holds an adapter (put on its
base, wherever that is found again), a folder in diffusers layout, a single file (converted once), a name on the hub.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from schemas.errors import BadDocument, BadOption, NotFound
from schemas.progress import Progress, silent
from trainer_client import methods
from trainer_client.config import TrainConfig
from trainer_client.device import choose_device
from trainer_client.models import Family, adapter, base_digest, load_family
from trainer_client.models.adapter import Adapter
from trainer_client.models.conventions import read_conventions
from trainer_client.models.single_file import converted
from trainer_client.run_folder import FILE, last_checkpoint


@dataclass(frozen=True)
class Start:
    """A resolved name: the folder or hub name of a whole model, or the folder of an adapter."""

    base: str
    adapter: Adapter | None = None


def resolve(base: str, config: str | None = None) -> Start:
    """Finds out what a name stands for. `config` is where a single file's configuration is.

    Raises NotFound, BadDocument, BadOption.
    """
    folder = Path(base).expanduser()
    if (folder / FILE).is_file():
        folder = last_checkpoint(folder)
    if (folder / adapter.FILE).is_file():
        return Start(str(folder), Adapter.read(folder / adapter.FILE))
    if folder.is_file():
        from trainer_client.cache import default_folder

        return Start(str(converted(folder, config, default_folder())))
    return Start(str(folder) if folder.is_dir() else base)


def load(
    base: str,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    revision: str | None = None,
    resolution_px: int | None = None,
    under: str | None = None,
    config: str | None = None,
    under_config: str | None = None,
) -> Family:
    """`models.load_family` of what a name stands for, an adapter attached to its base.

    `under` says where an adapter's base is now, `config` where a single file's configuration is, `under_config` that of
    such a base. Raises as `load_family` does; NotFound and BadDocument where an adapter's base isn't there or is
    another model.
    """
    start = resolve(base, config)
    _refuse_idle(base, start, revision, config)
    if start.adapter is None:
        family = load_family(start.base, device, dtype, revision, resolution_px)
    else:
        revision = start.adapter.base.revision
        family = load_under(start, under, device, dtype, resolution_px, under_config)
        folder = Path(start.base)
        family = methods.attach(family, folder, start.adapter)
        family = family.identified(located=folder, conventions=read_conventions(folder))
    return family.identified(base=base, revision=revision)


def _refuse_idle(base: str, start: Start, revision: str | None, config: str | None) -> None:
    """Raises BadOption where an option says something of another kind of base than this one."""
    if config is not None and not Path(base).expanduser().is_file():
        raise BadOption(f"--base-config {config}: {base} is no single file, it has its own. Leave it out.")
    if revision is not None and (start.adapter or Path(start.base).is_dir()):
        raise BadOption(f"--revision {revision}: {base} is a local model; only names on the hub have revisions.")


def load_under(
    start: Start,
    under: str | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    resolution_px: int | None = None,
    config: str | None = None,
) -> Family:
    """The base of an adapter, without it. Raises as `load` does."""
    assert start.adapter is not None
    base = _base_of(start, under)
    revision = None if Path(base).expanduser().exists() else start.adapter.base.revision
    family = methods.bake(load(base, device, dtype, revision, resolution_px, config=config))
    _refuse_other_base(start, family)
    return family


def digest(base: str, revision: str | None = None, config: str | None = None) -> str:
    """`load(base).digest` without loading the model, nor looking for an adapter's base."""
    start = resolve(base, config)
    if start.adapter is None:
        return base_digest(start.base, revision)
    return adapter.combined(start.adapter.base.digest, start.adapter)


def _base_of(start: Start, under: str | None) -> str:
    """Where an adapter's base is: as told, where it was found, or as it was named."""
    assert start.adapter is not None
    named, found = start.adapter.base.name, start.adapter.base_folder
    if under is not None:
        if not may_be_found(under):
            raise NotFound(f"--base {under}: there is no such model. The base of {start.base} is {named}.")
        return under
    for place in (found, named):
        if Path(place).expanduser().exists():
            return place
    was_here = f"/{named}/" in f"{found}/"
    if was_here or not _may_be_on_the_hub(named):
        raise NotFound(
            f"{start.base}: its base {named} isn't there any more ({found}). Put it back, or say where it is:"
            " `trainer merge` and `sample` take --base."
        )
    return named


def may_be_found(name: str) -> bool:
    """Whether there is such a folder or file, or it could be a name on the hub."""
    return Path(name).expanduser().exists() or _may_be_on_the_hub(name)


def _may_be_on_the_hub(name: str) -> bool:
    return name.count("/") == 1 and not name.startswith((".", "/", "~"))


def _refuse_other_base(start: Start, family: Family) -> None:
    assert start.adapter is not None
    wanted, digest = start.adapter.base.digest, family.digest
    if digest != wanted:
        raise BadDocument(
            f"{start.base}: was trained on {start.adapter.base.name} with digest {wanted[:12]}; {family.base} has"
            f" {digest[:12]}. Give the model it was trained on."
        )


def load_asked(config: TrainConfig, progress: Progress = silent, device: str | None = None) -> Family:
    """Load the model that a run starts from, and use it as the run's options ask on top of what the base says.

    `device` goes before the config's. Raises as `load`; BadOption if the model can't be used so.
    """
    progress("loading the model", 0, 1)
    asked, hardware = config.model, config.hardware
    family = load(
        asked.base,
        *choose_device(device or hardware.device, hardware.precision),
        asked.revision,
        asked.resolution,
        config=asked.base_config,
    )
    options = {name: value for name, value in config.family.model_dump().items() if value not in (None, False)}
    family = family.identified(conventions=family.conventions.model_copy(update=options))
    progress("loading the model", 1, 1)
    return family
