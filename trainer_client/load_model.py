"""Load a base model or a checkpoint by name.

A name is tried as a run folder (its last checkpoint), an adapter (put on its base), a folder in diffusers layout, a
single file (converted once), a hub name.
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
class ResolvedModel:
    """Folder or hub name of a whole model, or folder of an adapter."""

    base: str
    adapter: Adapter | None = None


def resolve(base: str, config: str | None = None) -> ResolvedModel:
    """Resolve a model's name; `config` is the configuration folder of a single file.

    Raise NotFound, BadDocument, BadOption.
    """
    folder = Path(base).expanduser()
    if (folder / FILE).is_file():
        folder = last_checkpoint(folder)
    if (folder / adapter.FILE).is_file():
        return ResolvedModel(str(folder), Adapter.read(folder / adapter.FILE))
    if folder.is_file():
        from trainer_client.cache import default_folder

        return ResolvedModel(str(converted(folder, config, default_folder())))
    return ResolvedModel(str(folder) if folder.is_dir() else base)


def load(
    base: str,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    revision: str | None = None,
    resolution_px: int | None = None,
    adapter_base: str | None = None,
    config: str | None = None,
    adapter_base_config: str | None = None,
) -> Family:
    """Load a model; an adapter is attached to its base.

    `adapter_base` overrides the recorded base; the `config` arguments are configuration folders of single files. Raise
    as `load_family`, and NotFound or BadDocument if the base is missing or another model.
    """
    resolved = resolve(base, config)
    _refuse_unused_options(base, resolved, revision, config)
    if resolved.adapter is None:
        family = load_family(resolved.base, device, dtype, revision, resolution_px)
    else:
        revision = resolved.adapter.base.revision
        family = load_adapter_base(resolved, adapter_base, device, dtype, resolution_px, adapter_base_config)
        folder = Path(resolved.base)
        family = methods.attach(family, folder, resolved.adapter)
        family = family.identified(located=folder, conventions=read_conventions(folder))
    return family.identified(base=base, revision=revision)


def _refuse_unused_options(base: str, resolved: ResolvedModel, revision: str | None, config: str | None) -> None:
    """Raise BadOption for an option without effect."""
    if config is not None and not Path(base).expanduser().is_file():
        raise BadOption(
            f"--base-config {config}: {base} is not a single file, it has its own. Leave --base-config out."
        )
    if revision is not None and (resolved.adapter or Path(resolved.base).is_dir()):
        raise BadOption(f"--revision {revision}: {base} is local; only hub models have revisions. Leave it out.")


def load_adapter_base(
    resolved: ResolvedModel,
    base: str | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    resolution_px: int | None = None,
    config: str | None = None,
) -> Family:
    """Load the base of an adapter. Raise as `load`."""
    assert resolved.adapter is not None
    name = _base_of(resolved, base)
    revision = None if Path(name).expanduser().exists() else resolved.adapter.base.revision
    family = methods.bake(load(name, device, dtype, revision, resolution_px, config=config))
    _refuse_other_base(resolved, family)
    return family


def digest(base: str, revision: str | None = None, config: str | None = None) -> str:
    """Return `load(base).digest` without loading the model."""
    resolved = resolve(base, config)
    if resolved.adapter is None:
        return base_digest(resolved.base, revision)
    return adapter.combined(resolved.adapter.base.digest, resolved.adapter)


def _base_of(resolved: ResolvedModel, base: str | None) -> str:
    """Return `base`, else the recorded folder, else the recorded name."""
    assert resolved.adapter is not None
    name, folder = resolved.adapter.base.name, resolved.adapter.base_folder
    if base is not None:
        if not may_exist(base):
            raise NotFound(f"--base {base}: there is no such model. The base of {resolved.base} is {name}.")
        return base
    for path in (folder, name):
        if Path(path).expanduser().exists():
            return path
    was_local = f"/{name}/" in f"{folder}/"
    if was_local or not _may_be_on_the_hub(name):
        raise NotFound(
            f"{resolved.base}: its base {name} is missing from {folder}. Restore it, or give its new path as --base"
            " of `trainer merge` or `trainer sample`."
        )
    return name


def may_exist(name: str) -> bool:
    """Whether the name exists here, or could be on the hub."""
    return Path(name).expanduser().exists() or _may_be_on_the_hub(name)


def _may_be_on_the_hub(name: str) -> bool:
    return name.count("/") == 1 and not name.startswith((".", "/", "~"))


def _refuse_other_base(resolved: ResolvedModel, family: Family) -> None:
    assert resolved.adapter is not None
    wanted, digest = resolved.adapter.base.digest, family.digest
    if digest != wanted:
        raise BadDocument(
            f"{resolved.base}: trained on {resolved.adapter.base.name} with digest {wanted[:12]}, but {family.base} has"
            f" {digest[:12]}. Give the model that it was trained on."
        )


def load_for_run(config: TrainConfig, progress: Progress = silent, device: str | None = None) -> Family:
    """Load a run's model, with the run's options over the base's conventions.

    `device` overrides the config's. Raise as `load`; BadOption for unsupported options.
    """
    progress("loading the model", 0, 1)
    model, hardware = config.model, config.hardware
    family = load(
        model.base,
        *choose_device(device or hardware.device, hardware.precision),
        model.revision,
        model.resolution,
        config=model.base_config,
    )
    options = {name: value for name, value in config.family.model_dump().items() if value not in (None, False)}
    family = family.identified(conventions=family.conventions.model_copy(update=options))
    progress("loading the model", 1, 1)
    return family
