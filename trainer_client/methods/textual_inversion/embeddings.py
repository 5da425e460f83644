"""New words of text encoders: tokens, vectors, files.

Shapes: V vectors, D text features, B captions, T tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from schemas.edge.words import plural
from schemas.errors import BadDocument, BadOption
from trainer_client.models import Family
from trainer_client.models.weights import in_order
from trainer_client.randomness import keys, normal

FILE = "learned_embeds.safetensors"  # The name `load_textual_inversion` looks for in a folder.
SPREAD = 0.1  # Standard deviation of random initial vectors, in standard deviations of the vocabulary.


class EmbeddingWithNewRows(nn.Module):
    """A token embedding with trainable rows for the last tokens; the others stay frozen."""

    def __init__(self, frozen: nn.Embedding, first: int, rows_VD: Tensor) -> None:
        super().__init__()
        self.frozen, self.first = frozen, first
        self.rows = nn.Parameter(rows_VD.clone())

    @property
    def weight(self) -> Tensor:
        """The frozen rows, for code that reads dtype or width."""
        return self.frozen.weight

    def forward(self, ids_BT: Tensor) -> Tensor:
        """Return (B, T, D)."""
        frozen_BTD: Tensor = self.frozen(ids_BT.clamp(max=self.first - 1))
        new_BTD = nn.functional.embedding((ids_BT - self.first).clamp(min=0), self.rows)
        return torch.where((ids_BT >= self.first)[..., None], new_BTD, frozen_BTD)


def tokens_of(word: str, vectors: int) -> list[str]:
    """Return the tokens of a word."""
    return [word, *(f"{word}_{number}" for number in range(1, vectors))]


def initial_rows(family: Family, vectors: int, initialiser: str | None, seed: int) -> dict[str, Tensor]:
    """Return (V, D) by component: the initialiser's tokens in turn, else random around the vocabulary's mean.

    Raise BadOption if the initialiser has more tokens than vectors.
    """
    rows: dict[str, Tensor] = {}
    for (component, encoder), tokenizer in _encoders(family):
        weight_SD = encoder.get_input_embeddings().weight.detach().float()
        if initialiser is not None:
            tokens = _tokens_of_initialiser(tokenizer, initialiser, vectors)
            rows[component] = weight_SD[[tokens[number % len(tokens)] for number in range(vectors)]].clone()
            continue
        names = [f"{component} {number}" for number in range(vectors)]
        noise_VD = normal(keys(seed, "embedding", 0, 0, names, weight_SD.device), weight_SD.shape[1:])
        rows[component] = weight_SD.mean(dim=0) + SPREAD * weight_SD.std(dim=0) * noise_VD
    return rows


def _tokens_of_initialiser(tokenizer: Any, words: str, vectors: int) -> list[int]:
    ids: list[int] = tokenizer(words, add_special_tokens=False, verbose=False)["input_ids"]
    if not 0 < len(ids) <= vectors:
        parts = " ".join(tokenizer.convert_ids_to_tokens(ids)) or "none"
        advice = f"Give --vectors {len(ids)} or more, a word of one token" if ids else "Give a common word"
        raise BadOption(f"--initialiser {words!r}: {plural(len(ids), 'token')} ({parts}). {advice}, or leave it out.")
    return ids


def add_word(family: Family, word: str, rows: Mapping[str, Tensor]) -> Family:
    """Add the word to tokenizers and text encoders; return the new family. Raise BadOption if it exists."""
    encoders = _encoders(family)
    tokens = tokens_of(word, len(next(iter(rows.values()))))
    for _, tokenizer in encoders:  # Check before changing anything.
        vocabulary = tokenizer.get_vocab()  # Whole words end in </w>.
        known = [token for token in tokens if token in vocabulary or f"{token}</w>" in vocabulary]
        if known:
            raise BadOption(f"--token {word}: {family.base} already has a token {known[0]}. Choose another word.")
    close = next((known for known in family.identity.words if known in word or word in known), None)
    if close is not None:  # In captions one would match inside the other.
        raise BadOption(f"--token {word}: {family.base} has learned {close}, and one contains the other. Change it.")
    for (component, encoder), tokenizer in encoders:
        tokenizer.add_tokens(tokens)
        first = int(tokenizer.convert_tokens_to_ids(tokens[0]))
        frozen = encoder.get_input_embeddings()
        encoder.set_input_embeddings(EmbeddingWithNewRows(frozen, first, rows[component].to(frozen.weight.device)))
    return family.identified(words={**family.identity.words, word: " ".join(tokens)})


def unfreeze_rows(family: Family) -> dict[str, nn.Parameter]:
    """Freeze all but the new rows; return them by `<component>.rows`."""
    rows_by_name: dict[str, nn.Parameter] = {}
    family.denoiser.requires_grad_(False).eval()
    for (component, encoder), _ in _encoders(family):
        encoder.requires_grad_(False).eval()
        rows: nn.Parameter = encoder.get_input_embeddings().rows
        rows.requires_grad_(True)
        rows_by_name[f"{component}.rows"] = rows
    return rows_by_name


def bake_words(family: Family) -> None:
    for (_, encoder), _ in _encoders(family):
        extended = encoder.get_input_embeddings()
        if not isinstance(extended, EmbeddingWithNewRows):
            continue
        frozen, rows_VD = extended.frozen.weight.detach(), extended.rows.detach()
        size = max(len(frozen), extended.first + len(rows_VD))
        whole = nn.Embedding(size, frozen.shape[1], device=frozen.device, dtype=frozen.dtype)
        with torch.no_grad():
            whole.weight.zero_()
            whole.weight[: len(frozen)] = frozen
            whole.weight[extended.first : extended.first + len(rows_VD)] = rows_VD
        encoder.set_input_embeddings(whole.requires_grad_(False))
        encoder.config.vocab_size = size


def _encoders(family: Family) -> list[tuple[tuple[str, Any], Any]]:
    """Return ((component, text encoder), tokenizer) pairs."""
    return list(zip(family.text_encoders.items(), family.tokenizers.values(), strict=True))


# Files


def write_files(family: Family, word: str, folder: Path, dtype: torch.dtype, metadata: Mapping[str, str]) -> Path:
    """Write the vectors for diffusers (returned, read back later) and for other programs."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = {
        component: encoder.get_input_embeddings().rows.detach().to("cpu", dtype).contiguous()
        for (component, encoder), _ in _encoders(family)
    }
    rows_by_key = {family.attach_points[component].vectors or component: tensor for component, tensor in rows.items()}
    first = next(iter(rows.values()))
    header = {"format": "pt", "amatl.token": word, **metadata}
    diffusers = save(rows_by_key if len(rows) > 1 else {word: first}, metadata=header)
    (folder / FILE).write_bytes(in_order(diffusers))
    name = f"{metadata['amatl.run']}-{int(metadata['amatl.epoch']):03d}.safetensors"
    others = save(rows_by_key if len(rows) > 1 else {"emb_params": first}, metadata=header)
    (folder / name).write_bytes(in_order(others))
    return folder / FILE


def read_rows(path: Path, family: Family) -> dict[str, Tensor]:
    """Return vectors by component, float32. Raise BadDocument if they don't fit."""
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise BadDocument(f"{path}: can't be read ({error}). Copy it again from its source.") from error
    components = list(family.text_encoders)
    rows = {component: tensors.get(family.attach_points[component].vectors or component) for component in components}
    if len(components) == 1 and len(tensors) == 1:
        rows = {components[0]: next(iter(tensors.values()))}
    checked: dict[str, Tensor] = {}
    for (component, encoder), _ in _encoders(family):
        rows_VD, width = rows[component], encoder.get_input_embeddings().weight.shape[1]
        if rows_VD is None or rows_VD.shape[-1] != width:
            raise BadDocument(f"{path}: no vectors of {width} numbers for the {component} of {family.base}.")
        checked[component] = rows_VD.float().reshape(-1, width)
    return checked
