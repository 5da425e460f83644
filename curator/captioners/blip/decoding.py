"""How a caption is chosen: the rules over the decoder's scores, and greedy and nucleus decoding, step by step.

Everything is on tensors of fixed shape and place, and no step asks the device anything: a run of steps can be recorded
as a CUDA graph. The order and meaning of the rules are those of transformers' `generate`.

Shapes: B pictures, L places for tokens (the prompt, then what is written), V tokens there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from curator.captioners.blip.network import Network
from curator.captioners.model.sampling import draw

Decode = Literal["greedy", "beam", "nucleus"]


@dataclass(frozen=True)
class Rules:
    """What to write: `prompt` are the tokens that every caption starts with, the first the model's own begin."""

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
        """Places for tokens, the prompt's included."""
        return len(self.prompt) + self.max_new_tokens

    @property
    def beams(self) -> int:
        """Rows a picture takes."""
        return self.num_beams if self.decode == "beam" else 1

    def apply(self, scores_RV: Tensor, tokens_RN: Tensor, step: int, end_token: int) -> Tensor:
        """The scores after the penalty on what was said (Keskar et al. 2019), and no end before its time."""
        if self.repetition_penalty != 1:
            said = scores_RV.gather(1, tokens_RN)
            said = torch.where(said < 0, said * self.repetition_penalty, said / self.repetition_penalty)
            scores_RV = scores_RV.scatter(1, tokens_RN, said)
        if step < self.min_new_tokens:
            scores_RV[:, end_token] = -torch.inf
        return scores_RV


class Writer(Protocol):
    """Writes the captions of a batch step by step. `finished` (one bool on the device) may be asked between steps."""

    finished: Tensor

    def start(self, absent_B: Tensor) -> None:
        """Forgets what it wrote; rows that are `absent` hold no picture and are never waited for."""

    def step(self, step: int) -> None:
        """The next token of every caption: steps 0, 1, ... up to `max_new_tokens` - 1."""

    def captions(self) -> Tensor:
        """The tokens (B, L), the prompt's first; after the end token anything may stand."""


class OneByOne:
    """Greedy decoding, or nucleus sampling (Holtzman et al. 2020) by the numbers given: (B, max_new_tokens)."""

    def __init__(self, network: Network, rules: Rules, image_memory: Tensor, numbers_BS: Tensor) -> None:
        self.network, self.rules, self.image_memory, self.numbers_BS = network, rules, image_memory, numbers_BS
        batch, device = image_memory.shape[2], network.device
        self.memory = network.decoder.memory(batch, rules.length)
        self.prompt_N = torch.tensor(rules.prompt, dtype=torch.int64, device=device)
        self.tokens_BL = torch.zeros(batch, rules.length, dtype=torch.int64, device=device)
        self.ended_B = torch.zeros(batch, dtype=torch.bool, device=device)
        self.finished = torch.zeros((), dtype=torch.bool, device=device)

    def start(self, absent_B: Tensor) -> None:
        self.tokens_BL.fill_(self.network.pad_token)
        self.tokens_BL[:, : len(self.rules.prompt)] = self.prompt_N
        self.ended_B.copy_(absent_B)

    def step(self, step: int) -> None:
        end = len(self.rules.prompt) + step
        hidden_BND = read_step(self.network, self.rules, self.tokens_BL, step, self.memory, self.image_memory)
        scores_BV = self.network.decoder.scores(hidden_BND[:, -1])
        scores_BV = self.rules.apply(scores_BV, self.tokens_BL[:, :end], step, self.network.end_token)
        next_B = self._choose(scores_BV, step).masked_fill(self.ended_B, self.network.pad_token)
        self.tokens_BL[:, end] = next_B
        self.ended_B.logical_or_(next_B == self.network.end_token)
        self.finished.copy_(self.ended_B.all())

    def _choose(self, scores_BV: Tensor, step: int) -> Tensor:
        if self.rules.decode == "greedy":
            return scores_BV.argmax(-1)
        return draw(scores_BV / self.rules.temperature, self.rules.top_p, self.numbers_BS[:, step])[:, 0]

    def captions(self) -> Tensor:
        return self.tokens_BL


def read_step(
    network: Network, rules: Rules, tokens_RL: Tensor, step: int, memory: Tensor, image_memory: Tensor
) -> Tensor:
    """Reads the prompt at the first step, then the token written last: hidden states (R, N, D)."""
    end = len(rules.prompt) + step
    start = 0 if step == 0 else end - 1
    return network.decoder.read(tokens_RL[:, start:end], start, memory, image_memory)
