"""Beam search with the semantics of transformers' `generate` (`early_stopping=False`, its default), on fixed shapes.

Each step ranks the 2 * G best continuations of an image's G beams. Continuations that end are stored if they rank among
the best G and their score (sum of log probabilities / length ** penalty) is among the G best ended ones. The best G
others continue. An image closes when its best running beam, at its present length, can't beat the worst stored one.

Shapes: B images, G beams, R = B * G rows, C = 2 * G candidates, L caption length in tokens, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor

from curator.captioners.blip.decoding import Decoding, read_step
from curator.captioners.blip.network import Network

NEVER = -1.0e9  # added to forbidden scores; transformers' number, so that rounding is equal too


class BeamSearch:
    def __init__(self, network: Network, decoding: Decoding, image_cache: Tensor) -> None:
        self.network, self.decoding, self.image_cache = network, decoding, image_cache
        batch, beams, device = image_cache.shape[2], decoding.num_beams, network.device
        self.batch = batch
        self.cache = network.decoder.new_cache(batch * beams, decoding.length)
        self.prompt_N = torch.tensor(decoding.prompt, dtype=torch.int64, device=device)
        self.first_beam_1G = torch.full((1, beams), NEVER, device=device)
        self.first_beam_1G[:, 0] = 0.0  # all beams start equal, so only the first may continue
        self.identity_1G = torch.arange(beams, device=device)[None]
        self.row_of_B1 = torch.arange(batch, device=device)[:, None] * beams
        self.running_BGL = torch.zeros(batch, beams, decoding.length, dtype=torch.int64, device=device)
        self.running_scores_BG = torch.zeros(batch, beams, device=device)
        self.ended_BGL = torch.zeros_like(self.running_BGL)
        self.ended_scores_BG = torch.zeros(batch, beams, device=device)
        self.has_ended_BG = torch.zeros(batch, beams, dtype=torch.bool, device=device)
        self.open_B1 = torch.zeros(batch, 1, dtype=torch.bool, device=device)
        self.finished = torch.zeros((), dtype=torch.bool, device=device)

    def start(self, absent_B: Tensor) -> None:
        self.running_BGL.fill_(self.network.pad_token)
        self.running_BGL[:, :, : len(self.decoding.prompt)] = self.prompt_N
        self.running_scores_BG.copy_(self.first_beam_1G.expand_as(self.running_scores_BG))
        self.ended_BGL.copy_(self.running_BGL)
        self.ended_scores_BG.fill_(NEVER)
        self.has_ended_BG.fill_(False)
        self.open_B1.copy_(~absent_B[:, None])

    def step(self, step: int) -> None:
        end = len(self.decoding.prompt) + step
        scores_BC, parents_BC, tokens_BC = self._candidates(step)
        candidates_BCL = _pick(self.running_BGL, parents_BC)
        candidates_BCL[:, :, end] = tokens_BC
        ends_BC = tokens_BC == self.network.end_token
        if step == self.decoding.max_new_tokens - 1:
            ends_BC = torch.ones_like(ends_BC)
        chosen_BG = (scores_BC + ends_BC * NEVER).topk(self.decoding.num_beams)[1]
        self._store_ended(candidates_BCL, scores_BC, ends_BC, step)
        self.running_BGL.copy_(_pick(candidates_BCL, chosen_BG))
        self.running_scores_BG.copy_(_pick(scores_BC + ends_BC * NEVER, chosen_BG))
        self._reorder_cache(_pick(parents_BC, chosen_BG), end)
        self._close(step)

    def captions(self) -> Tensor:
        return self.ended_BGL[:, 0]

    def _candidates(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return scores, beams and tokens of the best continuations, best first: (B, C) each."""
        decoding, beams = self.decoding, self.decoding.num_beams
        tokens_RL = self.running_BGL.view(-1, decoding.length)
        hidden = read_step(self.network, decoding, tokens_RL, step, self.cache, self.image_cache)
        scores_RV = self.network.decoder.scores(hidden[:, -1]).log_softmax(-1)
        end = len(decoding.prompt) + step
        scores_RV = decoding.apply(scores_RV, tokens_RL[:, :end], step, self.network.end_token)
        scores_BGV = scores_RV.view(self.batch, beams, -1) + self.running_scores_BG[:, :, None]
        scores_BC, indices_BC = scores_BGV.flatten(1).topk(2 * beams)
        vocabulary = scores_RV.shape[1]
        return scores_BC, indices_BC // vocabulary, indices_BC % vocabulary

    def _store_ended(self, candidates_BCL: Tensor, scores_BC: Tensor, ends_BC: Tensor, step: int) -> None:
        """Merge the captions that ended now with the best that ended before; closed images stay as they are."""
        beams = self.decoding.num_beams
        ended_BC = ends_BC.clone()
        ended_BC[:, beams:] = False
        scores_BC = scores_BC / (step + 1) ** self.decoding.length_penalty
        scores_BC = scores_BC + (~ended_BC) * NEVER
        all_scores = torch.cat([self.ended_scores_BG, scores_BC], dim=1)
        # `topk` may reorder equal scores, so a closed image would depend on how long its neighbours continue.
        best_BG = torch.where(self.open_B1, all_scores.topk(beams)[1], self.identity_1G)
        self.ended_BGL.copy_(_pick(torch.cat([self.ended_BGL, candidates_BCL], dim=1), best_BG))
        self.ended_scores_BG.copy_(_pick(all_scores, best_BG))
        self.has_ended_BG.copy_(_pick(torch.cat([self.has_ended_BG, ended_BC], dim=1), best_BG))

    def _reorder_cache(self, parents_BG: Tensor, end: int) -> None:
        """Copy each running beam's keys and values from its parent."""
        if self.decoding.num_beams > 1:
            rows_R = (parents_BG + self.row_of_B1).flatten()
            self.cache[..., :end, :] = self.cache[..., :end, :].index_select(2, rows_R)

    def _close(self, step: int) -> None:
        possible_B1 = self.running_scores_BG[:, :1] / (step + 1) ** self.decoding.length_penalty
        worst_BG = torch.where(self.has_ended_BG, self.ended_scores_BG.min(dim=1, keepdim=True)[0], NEVER)
        self.open_B1.logical_and_((possible_B1 > worst_BG).any(-1, keepdim=True))
        self.finished.copy_(~self.open_B1.any())


def _pick(values_BX: Tensor, indices_BY: Tensor) -> Tensor:
    """Select entries of the second dimension: (B, X, ...) to (B, Y, ...)."""
    index = indices_BY.view(*indices_BY.shape, *[1] * (values_BX.dim() - 2))
    return values_BX.gather(1, index.expand(*indices_BY.shape, *values_BX.shape[2:]))
