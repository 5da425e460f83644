"""The mini BLIP's shape, and how its folder is written."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from blip_tokenizer import PLACES
from data import SIZE_PX
from torch import nn

if TYPE_CHECKING:
    from pathlib import Path

WIDTH = 192
HEADS = 6
VISION_LAYERS = 6
TEXT_LAYERS = 3
PATCH_PX = 8


def build(tokenizer: Any) -> Any:
    """A `BlipForConditionalGeneration` with random weights, its special tokens as in BLIP's own configuration."""
    from transformers import BlipConfig, BlipForConditionalGeneration

    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "encoder_hidden_size": WIDTH,
        "intermediate_size": 4 * WIDTH,
        "num_hidden_layers": TEXT_LAYERS,
        "num_attention_heads": HEADS,
        "projection_dim": WIDTH,
        "max_position_embeddings": PLACES,
        "layer_norm_eps": 1e-6,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.sep_token_id,
        "sep_token_id": tokenizer.sep_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {
        "hidden_size": WIDTH,
        "intermediate_size": 4 * WIDTH,
        "num_hidden_layers": VISION_LAYERS,
        "num_attention_heads": HEADS,
        "projection_dim": WIDTH,
        "image_size": SIZE_PX,
        "patch_size": PATCH_PX,
        "initializer_range": 0.02,
    }
    config = BlipConfig(text_config=text, vision_config=vision, projection_dim=WIDTH, image_text_hidden_size=WIDTH)
    return BlipForConditionalGeneration(config)


def seen(model: Any, pixels_BCHW: torch.Tensor, kept: int) -> torch.Tensor:
    """The vision tower on `kept` patches of each picture, drawn at random: (B, 1 + kept, WIDTH).

    Leaving patches out makes a step cheaper and the tower more robust (Li et al. 2023, FLIP).
    """
    tower = model.vision_model
    hidden = tower.embeddings(pixels_BCHW)
    patches = hidden.shape[1] - 1
    if kept < patches:
        order = torch.rand(len(hidden), patches, device=hidden.device).argsort(1)[:, :kept] + 1
        order = torch.cat([torch.zeros_like(order[:, :1]), order], 1)
        hidden = hidden.gather(1, order[:, :, None].expand(-1, -1, hidden.shape[2]))
    states: torch.Tensor = tower.post_layernorm(tower.encoder(inputs_embeds=hidden).last_hidden_state)
    return states


class Guides(nn.Module):
    """Two linear readings of the mean patch, used in training only: which emoji it is, and which keywords it has.

    Captions alone teach the vision tower slowly, since only a few tokens of each carry news.
    """

    def __init__(self, concepts: int, keywords: int) -> None:
        super().__init__()
        self.concept = nn.Linear(WIDTH, concepts)
        self.keyword = nn.Linear(WIDTH, keywords)

    def forward(self, states_BLC: torch.Tensor, concept_B: torch.Tensor, keywords_BK: torch.Tensor) -> torch.Tensor:
        """Mean loss; `keywords_BK` are probabilities that sum to 1, or all 0 where a picture has none."""
        mean = states_BLC[:, 1:].mean(1)
        named = nn.functional.cross_entropy(self.concept(mean).float(), concept_B, label_smoothing=0.1)
        told = -(keywords_BK * self.keyword(mean).float().log_softmax(1)).sum(1).mean()
        return named + told


def save(model: Any, processor: Any, folder: Path) -> None:
    """Write weights (fp16), configuration and processor into `folder`; loaded by name the model computes in fp32."""
    copy.deepcopy(model).half().save_pretrained(folder)
    processor.save_pretrained(folder)
    path = folder / "config.json"
    path.write_text(path.read_text("utf-8").replace('"float16"', '"float32"'), "utf-8")
