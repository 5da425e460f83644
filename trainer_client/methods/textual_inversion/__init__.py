"""Textual inversion: a new word whose embedding vectors are all that is learnt; the model itself stays as it is.

A checkpoint holds the vectors twice: as diffusers' `load_textual_inversion` reads them, and as A1111, Forge and ComfyUI
do. Several vectors are several tokens, `<word> <word>_1 ...`, as in diffusers; a caption just says `<word>`.

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
    """`trainer_client.methods.Method`; see there what each member promises."""

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
        self.parameters = embeddings.freed_rows(self.family)
        self.encodes_text = True
        drawn = "" if options.initialiser else str(seed)
        self.start = {"word": f"{options.token} {options.vectors} {options.initialiser} {drawn}"}

    def numbers_saved(self, first: bool) -> int:
        return 2 * sum(rows.numel() for rows in self.parameters.values())

    def save(self, folder: Path, dtype: torch.dtype, metadata: Mapping[str, str], first: Path | None) -> None:
        weights = write_files(self.family, self.token, folder, dtype, metadata)
        write_adapter(folder, self.name, self.family, self.settings, weights)


def begin(family: Family, config: TrainConfig) -> TextualInversion:
    """`trainer_client.methods.begin` for this method."""
    assert isinstance(config.method, Options)
    return TextualInversion(family, config.method, config.augmentation.seed)


def attach(family: Family, folder: Path, adapter: Adapter) -> Family:
    """Teach the family a checkpoint's word."""
    return add_word(family, adapter.settings["token"], read_rows(weights_of(folder, adapter), family))


def bake(family: Family) -> Family:
    """Make the word a part of tokenizers and text encoders."""
    bake_words(family)
    return family


def _refuse_other_word(base: str, there: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    for name in ("token", "vectors"):
        if there[name] != asked[name]:
            raise BadOption(
                f"--{name} {asked[name]}: {base} has learnt {there['token']} in {there['vectors']} vectors."
                f" Give --{name} {there[name]} to go on with it."
            )
