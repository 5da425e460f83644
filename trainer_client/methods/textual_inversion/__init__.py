"""Textual inversion: train only the embedding vectors of a new word.

A checkpoint holds them in two files: for diffusers' `load_textual_inversion`, and for A1111, Forge and ComfyUI. Several
vectors are several tokens, `<word> <word>_1 ...`; captions have only `<word>`.

Source: Gal et al., "An image is worth one word" (2022).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from schemas.errors import BadOption
from trainer_client.config import TrainConfig
from trainer_client.config.methods import TextualInversion as Options
from trainer_client.methods import write_adapter
from trainer_client.methods.textual_inversion import embeddings
from trainer_client.methods.textual_inversion.embeddings import add_word, bake_words, read_rows, write_files
from trainer_client.models import Family
from trainer_client.models.adapter import Adapter, weights_of


class TextualInversion:
    name = "textual-inversion"

    def __init__(self, family: Family, options: Options, seed: int) -> None:
        self.family, self.token = family, options.token
        self.settings = {"token": options.token, "vectors": options.vectors, "initialiser": options.initialiser}
        adapter = family.identity.adapter
        if adapter is None:
            rows = embeddings.initial_rows(family, options.vectors, options.initialiser, seed)
            self.family = embeddings.add_word(family, options.token, rows)
        else:
            _refuse_other_word(family.base, adapter.settings, self.settings)
        self.parameters = embeddings.unfreeze_rows(self.family)
        self.encodes_text_each_step = True
        random_start = "" if options.initialiser else str(seed)
        self.start = {"word": f"{options.token} {options.vectors} {options.initialiser} {random_start}"}

    def numbers_saved(self, first: bool) -> int:
        return 2 * sum(rows.numel() for rows in self.parameters.values())

    def save(self, folder: Path, dtype: torch.dtype, metadata: Mapping[str, str], first: Path | None) -> None:
        weights = write_files(self.family, self.token, folder, dtype, metadata)
        write_adapter(folder, self.name, self.family, self.settings, weights)


def begin(family: Family, config: TrainConfig) -> TextualInversion:
    assert isinstance(config.method, Options)
    return TextualInversion(family, config.method, config.augmentation.seed)


def attach(family: Family, folder: Path, adapter: Adapter) -> Family:
    return add_word(family, adapter.settings["token"], read_rows(weights_of(folder, adapter), family))


def bake(family: Family) -> Family:
    bake_words(family)
    return family


def _refuse_other_word(base: str, trained: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    for name in ("token", "vectors"):
        if trained[name] != given[name]:
            raise BadOption(
                f"--{name} {given[name]}: {base} has learned {trained['token']} in {trained['vectors']} vectors."
                f" Give --{name} {trained[name]} to continue it."
            )
