"""A very small CLIP model with random weights, made here, for tests without a hub."""

from __future__ import annotations

import json
from pathlib import Path

from tests.curator.text.tiny_clip import write_tiny_clip

SIDE_PX = 32


def write_random_clip(folder: Path, limit: int = 16, seed: int = 0) -> Path:
    """Writes a whole CLIP model, tokenizer and all, that takes pictures of 32 px and captions of `limit` tokens."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    write_tiny_clip(folder, limit)
    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    end = vocabulary["<|endoftext|>"]
    layers = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = layers | {
        "vocab_size": len(vocabulary),
        "max_position_embeddings": limit,
        "bos_token_id": vocabulary["<|startoftext|>"],
        "eos_token_id": end,
        "pad_token_id": end,
    }
    vision = layers | {"image_size": SIDE_PX, "patch_size": 8}
    torch.manual_seed(seed)
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16))
    with torch.no_grad():  # cosines of random vectors are often negative, and a score stops at 0: lean all one way
        for projection in (model.visual_projection, model.text_projection):
            projection.weight.abs_()
        for norm in (model.vision_model.post_layernorm, model.text_model.final_layer_norm):
            norm.bias.fill_(0.25)
    model.save_pretrained(folder)
    return folder
