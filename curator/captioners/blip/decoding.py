"""Greedy and nucleus decoding, and the processing of scores, with the order and semantics of transformers' `generate`.

All tensors keep their shape and address, and no step synchronizes with the device, so that steps can be recorded as a
CUDA graph.

Shapes: B images, L caption length in tokens (prompt included), V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from curator.captioners.blip.network import Network
from curator.captioners.model.sampling import sample_nucleus

Decode = Literal["greedy", "beam", "nucleus"]


@dataclass(frozen=True)
class Decoding:
    """Settings of the decoding. `prompt`: the first tokens of every caption, starting with the model's begin token."""

    prompt: tuple[int, ...]
    decode: Decode = "greedy"
    num_beams: int = 3
    length_penalty: float = 1.0
    top_p: float = 0.9
    temperature: float = 1.0
    min_new_tokens: int = 0
    max_new_tokens: int = 20
    repetition_penalty: float = 1.0

    @property
    def length(self) -> int:
        return len(self.prompt) + self.max_new_tokens

    @property
    def beams(self) -> int:
        return self.num_beams if self.decode == "beam" else 1

    def apply(self, scores_RV: Tensor, tokens_RN: Tensor, step: int, end_token: int) -> Tensor:
        """Apply the repetition penalty (Keskar et al. 2019) and forbid an end before `min_new_tokens`."""
        if self.repetition_penalty != 1:
            used = scores_RV.gather(1, tokens_RN)
            used = torch.where(used < 0, used * self.repetition_penalty, used / self.repetition_penalty)
            scores_RV = scores_RV.scatter(1, tokens_RN, used)
        if step < self.min_new_tokens:
            scores_RV[:, end_token] = -torch.inf
        return scores_RV


class Search(Protocol):
    """Decodes the captions of a batch step by step. `finished`: one bool on the device, to be read between steps."""

    finished: Tensor

    def start(self, absent_B: Tensor) -> None:
        """Reset. Rows marked in `absent_B` hold no image and count as finished."""

    def step(self, step: int) -> None:
        """Choose the next token of every caption, at step 0 to `max_new_tokens` - 1."""

    def captions(self) -> Tensor:
        """Return the tokens (B, L), prompt first. Tokens after the end token are undefined."""


class GreedyOrNucleus:
    """Greedy decoding, or nucleus sampling (Holtzman et al. 2020) by random numbers (B, max_new_tokens)."""

    def __init__(self, network: Network, decoding: Decoding, image_cache: Tensor, uniforms_BS: Tensor) -> None:
        self.network, self.decoding, self.image_cache, self.uniforms_BS = network, decoding, image_cache, uniforms_BS
        batch, device = image_cache.shape[2], network.device
        self.cache = network.decoder.new_cache(batch, decoding.length)
        self.prompt_N = torch.tensor(decoding.prompt, dtype=torch.int64, device=device)
        self.tokens_BL = torch.zeros(batch, decoding.length, dtype=torch.int64, device=device)
        self.ended_B = torch.zeros(batch, dtype=torch.bool, device=device)
        self.finished = torch.zeros((), dtype=torch.bool, device=device)

    def start(self, absent_B: Tensor) -> None:
        self.tokens_BL.fill_(self.network.pad_token)
        self.tokens_BL[:, : len(self.decoding.prompt)] = self.prompt_N
        self.ended_B.copy_(absent_B)

    def step(self, step: int) -> None:
        end = len(self.decoding.prompt) + step
        hidden_BND = read_step(self.network, self.decoding, self.tokens_BL, step, self.cache, self.image_cache)
        scores_BV = self.network.decoder.scores(hidden_BND[:, -1])
        scores_BV = self.decoding.apply(scores_BV, self.tokens_BL[:, :end], step, self.network.end_token)
        next_B = self._choose(scores_BV, step).masked_fill(self.ended_B, self.network.pad_token)
        self.tokens_BL[:, end] = next_B
        self.ended_B.logical_or_(next_B == self.network.end_token)
        self.finished.copy_(self.ended_B.all())

    def _choose(self, scores_BV: Tensor, step: int) -> Tensor:
        if self.decoding.decode == "greedy":
            return scores_BV.argmax(-1)
        scores_BV = scores_BV / self.decoding.temperature
        return sample_nucleus(scores_BV, self.decoding.top_p, self.uniforms_BS[:, step])[:, 0]

    def captions(self) -> Tensor:
        return self.tokens_BL


def read_step(
    network: Network, decoding: Decoding, tokens_RL: Tensor, step: int, cache: Tensor, image_cache: Tensor
) -> Tensor:
    """Run the decoder over the prompt at step 0, later over the last token. Returns hidden states (R, N, D)."""
    end = len(decoding.prompt) + step
    start = 0 if step == 0 else end - 1
    return network.decoder.forward(tokens_RL[:, start:end], start, cache, image_cache)
