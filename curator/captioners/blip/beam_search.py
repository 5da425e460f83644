"""Beam search with the semantics of transformers' `generate` (`early_stopping=False`, its default), on fixed shapes.

At each step the 2 * G best continuations of a picture's G beams are looked at. Those that end, if among the best G, are
kept when their score (sum of log probabilities / length ** penalty) is among the G best ended ones; the best G that
don't end go on. A picture is closed once its best running beam, at its present length, can't beat the worst kept one.

Shapes: B pictures, G beams, R = B * G rows, C = 2 * G candidates, L places for tokens, V tokens there are.
"""

from __future__ import annotations

import torch
from torch import Tensor

from curator.captioners.blip.decoding import Rules, read_step
from curator.captioners.blip.network import Network

NEVER = -1.0e9  # added to the score of what mustn't be chosen; transformers' number, so that roundings are alike too


class Beams:
    """A `Writer` (curator.captioners.blip.decoding)."""

    def __init__(self, network: Network, rules: Rules, image_memory: Tensor) -> None:
        self.network, self.rules, self.image_memory = network, rules, image_memory
        batch, beams, device = image_memory.shape[2], rules.num_beams, network.device
        self.batch = batch
        self.memory = network.decoder.memory(batch * beams, rules.length)
        self.prompt_N = torch.tensor(rules.prompt, dtype=torch.int64, device=device)
        self.first_beam_1G = torch.full((1, beams), NEVER, device=device)
        self.first_beam_1G[:, 0] = 0.0  # all beams start alike: only the first may have descendants
        self.as_it_is_1G = torch.arange(beams, device=device)[None]
        self.row_of_B1 = torch.arange(batch, device=device)[:, None] * beams
        self.running_BGL = torch.zeros(batch, beams, rules.length, dtype=torch.int64, device=device)
        self.running_scores_BG = torch.zeros(batch, beams, device=device)
        self.kept_BGL = torch.zeros_like(self.running_BGL)
        self.kept_scores_BG = torch.zeros(batch, beams, device=device)
        self.is_kept_BG = torch.zeros(batch, beams, dtype=torch.bool, device=device)
        self.open_B1 = torch.zeros(batch, 1, dtype=torch.bool, device=device)
        self.finished = torch.zeros((), dtype=torch.bool, device=device)

    def start(self, absent_B: Tensor) -> None:
        self.running_BGL.fill_(self.network.pad_token)
        self.running_BGL[:, :, : len(self.rules.prompt)] = self.prompt_N
        self.running_scores_BG.copy_(self.first_beam_1G.expand_as(self.running_scores_BG))
        self.kept_BGL.copy_(self.running_BGL)
        self.kept_scores_BG.fill_(NEVER)
        self.is_kept_BG.fill_(False)
        self.open_B1.copy_(~absent_B[:, None])

    def step(self, step: int) -> None:
        end = len(self.rules.prompt) + step
        scores_BC, parents_BC, tokens_BC = self._candidates(step)
        candidates_BCL = _pick(self.running_BGL, parents_BC)
        candidates_BCL[:, :, end] = tokens_BC
        ends_BC = tokens_BC == self.network.end_token
        if step == self.rules.max_new_tokens - 1:
            ends_BC = torch.ones_like(ends_BC)
        chosen_BG = (scores_BC + ends_BC * NEVER).topk(self.rules.num_beams)[1]
        self._keep(candidates_BCL, scores_BC, ends_BC, step)
        self.running_BGL.copy_(_pick(candidates_BCL, chosen_BG))
        self.running_scores_BG.copy_(_pick(scores_BC + ends_BC * NEVER, chosen_BG))
        self._follow(_pick(parents_BC, chosen_BG), end)
        self._close(step)

    def captions(self) -> Tensor:
        return self.kept_BGL[:, 0]

    def _candidates(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, beams and tokens of the best continuations, best first: (B, C) each."""
        rules, beams = self.rules, self.rules.num_beams
        tokens_RL = self.running_BGL.view(-1, rules.length)
        hidden = read_step(self.network, rules, tokens_RL, step, self.memory, self.image_memory)
        scores_RV = self.network.decoder.scores(hidden[:, -1]).log_softmax(-1)
        end = len(rules.prompt) + step
        scores_RV = rules.apply(scores_RV, tokens_RL[:, :end], step, self.network.end_token)
        scores_BGV = scores_RV.view(self.batch, beams, -1) + self.running_scores_BG[:, :, None]
        scores_BC, places_BC = scores_BGV.flatten(1).topk(2 * beams)
        vocabulary = scores_RV.shape[1]
        return scores_BC, places_BC // vocabulary, places_BC % vocabulary

    def _keep(self, candidates_BCL: Tensor, scores_BC: Tensor, ends_BC: Tensor, step: int) -> None:
        """Takes what ended now in among the best that ended so far; a closed picture takes in no more."""
        beams = self.rules.num_beams
        ended_BC = ends_BC.clone()
        ended_BC[:, beams:] = False
        scores_BC = scores_BC / (step + 1) ** self.rules.length_penalty
        scores_BC = scores_BC + (~ended_BC) * NEVER
        all_scores = torch.cat([self.kept_scores_BG, scores_BC], dim=1)
        # Equal scores may change places in `topk`: a closed picture must not feel that its neighbours go on.
        best_BG = torch.where(self.open_B1, all_scores.topk(beams)[1], self.as_it_is_1G)
        self.kept_BGL.copy_(_pick(torch.cat([self.kept_BGL, candidates_BCL], dim=1), best_BG))
        self.kept_scores_BG.copy_(_pick(all_scores, best_BG))
        self.is_kept_BG.copy_(_pick(torch.cat([self.is_kept_BG, ended_BC], dim=1), best_BG))

    def _follow(self, parents_BG: Tensor, end: int) -> None:
        """Gives each running beam its parent's keys and values."""
        if self.rules.num_beams > 1:
            rows_R = (parents_BG + self.row_of_B1).flatten()
            self.memory[..., :end, :] = self.memory[..., :end, :].index_select(2, rows_R)

    def _close(self, step: int) -> None:
        possible_B1 = self.running_scores_BG[:, :1] / (step + 1) ** self.rules.length_penalty
        worst_BG = torch.where(self.is_kept_BG, self.kept_scores_BG.min(dim=1, keepdim=True)[0], NEVER)
        self.open_B1.logical_and_((possible_B1 > worst_BG).any(-1, keepdim=True))
        self.finished.copy_(~self.open_B1.any())


def _pick(of_BX: Tensor, places_BY: Tensor) -> Tensor:
    """Entries by place in the second dimension: (B, X, ...) to (B, Y, ...)."""
    index = places_BY.view(*places_BY.shape, *[1] * (of_BX.dim() - 2))
    return of_BX.gather(1, index.expand(*places_BY.shape, *of_BX.shape[2:]))
