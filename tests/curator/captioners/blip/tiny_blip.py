"""A very small BLIP with random weights and its tokenizer, on disk as any BLIP is, for tests without a hub."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

SPECIAL = ["[PAD]", "[UNK]", "[SEP]", "[CLS]", "[MASK]", "[DEC]"]
WORDS = ["a", "picture", "of", "the", "red", "fox", "owl", "and", "with", "blue", "tree", "##s", "##ing", "it", "is"]
PAD, END, BEGIN = SPECIAL.index("[PAD]"), SPECIAL.index("[SEP]"), SPECIAL.index("[DEC]")
SIDE_PX = 32


def tokenizer(folder: Path, words: int = 90) -> Any:
    """A BERT tokenizer of `words` tokens; those beyond the words above are made up."""
    from transformers import BertTokenizer

    vocabulary = SPECIAL + WORDS
    vocabulary += [f"word{number}" for number in range(words - len(vocabulary))]
    path = folder / "vocab.txt"
    path.write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    return BertTokenizer.from_pretrained(folder, bos_token="[DEC]")


def model(words: int = 90, seed: int = 1, spread: float = 0.12, **text: Any) -> Any:
    """`spread` is the weights' deviation: large enough that captions differ from picture to picture."""
    import torch
    from transformers import BlipConfig, BlipForConditionalGeneration

    torch.manual_seed(seed)
    config = BlipConfig(
        text_config={
            "vocab_size": words,
            "hidden_size": 48,
            "intermediate_size": 96,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "max_position_embeddings": 40,
            "bos_token_id": BEGIN,
            "eos_token_id": END,
            "sep_token_id": END,
            "pad_token_id": PAD,
            "initializer_range": spread,
            **text,
        },
        vision_config={
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": SIDE_PX,
            "patch_size": 8,
            "initializer_range": spread,
        },
    )
    made = BlipForConditionalGeneration(config).eval()
    made.text_decoder.cls.predictions.bias.data[END] += 1.5  # captions end, some early and some late
    return made


def save(folder: Path, **options: Any) -> Path:
    """The whole folder."""
    from transformers import BlipProcessor
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    folder.mkdir(parents=True, exist_ok=True)
    images = BlipImageProcessorPil(size={"height": SIDE_PX, "width": SIDE_PX})
    model(**options).save_pretrained(folder)
    BlipProcessor(images, tokenizer(folder)).save_pretrained(folder)
    return folder


@lru_cache
def pictures(count: int = 21) -> NDArray[np.uint8]:
    """uint8 (count, 3, side, side): blots, which are further apart than noise."""
    random = np.random.default_rng(7)
    made = []
    for _ in range(count):
        blots = Image.fromarray(random.integers(0, 256, (3, 3, 3), dtype=np.uint8))
        made.append(np.asarray(blots.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)).transpose(2, 0, 1))
    return np.stack(made)


def normalised(pixels_BCHW: NDArray[np.uint8]) -> Any:
    """As transformers' image processor gives them to the reference."""
    import torch
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    processor = BlipImageProcessorPil(size={"height": SIDE_PX, "width": SIDE_PX})
    return torch.as_tensor(np.stack(processor(list(pixels_BCHW), return_tensors="np")["pixel_values"]))


def teacher_forced(network: Any, pixels_BCHW: Any, tokens_BN: Any) -> Any:
    """Logits (B, N, V) after each of the given tokens, as training computes them."""
    batch, count = tokens_BN.shape
    image_cache = network.decoder.new_cache(batch, network.image_tokens)
    network.decoder.encode_images(network.tower(pixels_BCHW), image_cache)
    return network.decoder.scores(
        network.decoder.forward(tokens_BN, 0, network.decoder.new_cache(batch, count), image_cache)
    )
