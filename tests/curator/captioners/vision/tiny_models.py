"""Miniatures of the vision-language families, with random weights: the real classes, configurations of a few thousand
weights, and a tokenizer of bytes. Each is saved as a folder and loaded as a user's model would be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

CHAT = (
    "{% for message in messages %}{{ message['role'] | upper }}: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}\n{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT: {% endif %}"
)
# Content as a string, and the picture's place known to the template alone.
STRING_CHAT = (
    "{% for message in messages %}{{ message['role'] | upper }}: {% if message['role'] == 'user' %}<image>\n{% endif %}"
    "{{ message['content'] }}\n{% endfor %}{% if add_generation_prompt %}ASSISTANT: {% endif %}"
)
QWEN_CHAT = CHAT.replace("<image>", "<|vision_start|><|image_pad|><|vision_end|>")
SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}


def byte_tokenizer(*specials: str, eos_after_prompt: bool = False, **named: str) -> Any:
    """256 bytes and a few special tokens: any text goes there and back. `named`: specials with a name (image_token)."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = ["<pad>", "<s>", "</s>", "<unk>", *specials, *alphabet]
    tokenizer = Tokenizer(models.BPE(vocab={word: number for number, word in enumerate(vocabulary)}, merges=[]))
    tokenizer.add_special_tokens(vocabulary[: 4 + len(specials)])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if eos_after_prompt:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        extra_special_tokens=named,
    )


def _ids(**more: int) -> dict[str, int]:
    return {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, **more}


def _llama(tokenizer: Any) -> dict[str, Any]:
    return {"model_type": "llama", "vocab_size": len(tokenizer), "num_key_value_heads": 1, **SMALL, **_ids()}


def _square(name: str, side_px: int = 32, **more: Any) -> Any:
    import transformers

    size = {"height": side_px, "width": side_px}
    return getattr(transformers, name + "Pil")(size=size, **more)


def _save(folder: Path, model: Any, *parts: Any) -> Path:
    model.save_pretrained(folder)
    for part in parts:
        part.save_pretrained(folder)
    return folder


def llava(folder: Path, chat: str | None = CHAT) -> Path:
    """CLIP and Llama, as LLaVA 1.5 and JoyCaption are built."""
    from transformers import CLIPImageProcessorPil, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor

    tokenizer = byte_tokenizer("<image>")
    vision = {"model_type": "clip_vision_model", "image_size": 32, "patch_size": 16, **SMALL}
    config = LlavaConfig(vision_config=vision, text_config=_llama(tokenizer), image_token_index=4)
    images = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    processor = LlavaProcessor(
        images, tokenizer, patch_size=16, vision_feature_select_strategy="default", chat_template=chat,
        num_additional_image_tokens=1,
    )  # fmt: skip
    return _save(folder, LlavaForConditionalGeneration(config), processor)


def joycaption(folder: Path) -> Path:
    """A LLaVA whose chat template takes text alone and puts the picture in by itself."""
    return llava(folder, STRING_CHAT)


def llava_without_template(folder: Path) -> Path:
    """A LLaVA of the days before chat templates."""
    return llava(folder, None)


def blip2(folder: Path) -> Path:
    """A vision tower, a query transformer and OPT."""
    from transformers import Blip2Config, Blip2ForConditionalGeneration, Blip2Processor

    tokenizer = byte_tokenizer("<image>")
    text = {
        "model_type": "opt", "vocab_size": len(tokenizer), "hidden_size": 32, "ffn_dim": 48, "num_hidden_layers": 2,
        "num_attention_heads": 2, "word_embed_proj_dim": 32, "max_position_embeddings": 128, **_ids(),
    }  # fmt: skip
    config = Blip2Config(
        vision_config={"image_size": 32, "patch_size": 16, **SMALL},
        qformer_config={"encoder_hidden_size": 32, **SMALL},
        text_config=text,
        num_query_tokens=4,
        image_token_index=4,
    )
    processor = Blip2Processor(_square("BlipImageProcessor"), tokenizer, num_query_tokens=4)
    return _save(folder, Blip2ForConditionalGeneration(config), processor)


def qwen2_vl(folder: Path) -> Path:
    """Pictures of any shape, as patches in one long row."""
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    vision = {"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "patch_size": 14, "mlp_ratio": 2}
    return _qwen(folder, Qwen2VLConfig, Qwen2VLForConditionalGeneration, vision, "Qwen2VLProcessor")


def qwen2_5_vl(folder: Path) -> Path:
    """The same with windowed attention in the tower."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    vision = {
        "depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "patch_size": 14, "window_size": 56,
        "out_hidden_size": 32, "fullatt_block_indexes": [1],
    }  # fmt: skip
    return _qwen(folder, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, vision, "Qwen2_5_VLProcessor")


def _qwen(folder: Path, config_class: Any, model_class: Any, vision: dict[str, Any], processor: str) -> Path:
    """Its processor wants torchvision, for videos, so that none can be made here: the files are written by hand."""
    from transformers import Qwen2VLImageProcessorPil

    names = ["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"]
    tokenizer = byte_tokenizer(*names)
    text = {
        "vocab_size": len(tokenizer), "num_key_value_heads": 1, **SMALL, **_ids(),
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]},
    }  # fmt: skip
    places = {"image_token_id": 4, "video_token_id": 5, "vision_start_token_id": 6, "vision_end_token_id": 7}
    config = config_class(vision_config=vision, text_config=text, **places, **_ids())
    images = Qwen2VLImageProcessorPil(size={"shortest_edge": 28 * 28, "longest_edge": 112 * 112}, patch_size=14)
    _save(folder, model_class(config), images, tokenizer)
    (folder / "chat_template.jinja").write_text(QWEN_CHAT)
    described = json.loads((folder / "preprocessor_config.json").read_text())
    described |= {"processor_class": processor, "image_processor_type": "Qwen2VLImageProcessor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(described))
    return folder


def florence2(folder: Path) -> Path:
    """DaViT and BART; asked by task tokens."""
    from transformers import Florence2Config, Florence2ForConditionalGeneration, Florence2Processor

    tokenizer = byte_tokenizer("<image>", image_token="<image>")
    vision = {
        "depths": (1, 1), "patch_size": (7, 3), "patch_stride": (4, 2), "patch_padding": (3, 1),
        "patch_prenorm": (False, True), "embed_dim": (16, 32), "num_heads": (2, 2), "num_groups": (2, 2),
        "window_size": 4, "projection_dim": 32, "drop_path_rate": 0.0,
    }  # fmt: skip
    text = {
        "model_type": "bart", "vocab_size": len(tokenizer), "d_model": 32, "encoder_layers": 2, "decoder_layers": 2,
        "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48,
        "decoder_start_token_id": 2, "max_position_embeddings": 256, "forced_eos_token_id": None, **_ids(),
    }  # fmt: skip
    config = Florence2Config(vision_config=vision, text_config=text, image_token_id=4, **_ids())
    images = _square("CLIPImageProcessor", do_center_crop=False)
    images.image_seq_length = 17
    return _save(folder, Florence2ForConditionalGeneration(config), Florence2Processor(images, tokenizer))


def git(folder: Path) -> Path:
    """CLIP and a text decoder whose tokenizer ends every prompt."""
    from transformers import CLIPImageProcessorPil, GitConfig, GitForCausalLM, GitProcessor

    tokenizer = byte_tokenizer(eos_after_prompt=True)
    vision = {"image_size": 32, "patch_size": 16, **SMALL}
    config = GitConfig(vision_config=vision, vocab_size=len(tokenizer), **SMALL, **_ids())
    images = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    return _save(folder, GitForCausalLM(config), GitProcessor(images, tokenizer))


def vit_gpt2(folder: Path) -> Path:
    """An encoder and a decoder, without a processor that knows both."""
    from transformers import GPT2Config, VisionEncoderDecoderConfig, VisionEncoderDecoderModel, ViTConfig

    tokenizer = byte_tokenizer()
    decoder = GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=2, n_positions=128, **_ids())
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        ViTConfig(image_size=32, patch_size=16, **SMALL), decoder
    )
    config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = 1, 0, 2
    return _save(folder, VisionEncoderDecoderModel(config), _square("ViTImageProcessor"), tokenizer)


def paligemma(folder: Path) -> Path:
    """SigLIP and Gemma; the prompt is seen from both sides."""
    from transformers import PaliGemmaConfig, PaliGemmaForConditionalGeneration, PaliGemmaProcessor

    tokenizer = byte_tokenizer("<image>")
    vision = {"model_type": "siglip_vision_model", "image_size": 32, "patch_size": 16, **SMALL}
    images = _square("SiglipImageProcessor")
    images.image_seq_length = 4
    processor = PaliGemmaProcessor(images, tokenizer)
    text = {
        "model_type": "gemma", "vocab_size": len(tokenizer), "num_key_value_heads": 1, "head_dim": 16, **SMALL, **_ids()
    }  # fmt: skip
    config = PaliGemmaConfig(vision_config=vision, text_config=text, image_token_index=4, projection_dim=32, **_ids())
    return _save(folder, PaliGemmaForConditionalGeneration(config), processor)


def idefics3(folder: Path) -> Path:
    """SigLIP and Llama, the picture cut into tiles: as SmolVLM is built."""
    from transformers import (
        Idefics3Config,
        Idefics3ForConditionalGeneration,
        Idefics3ImageProcessorPil,
        Idefics3Processor,
    )

    tiles = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    tokenizer = byte_tokenizer("<image>", "<fake_token_around_image>", "<end_of_utterance>", "<global-img>", *tiles)
    vision = {"image_size": 32, "patch_size": 8, **SMALL}
    config = Idefics3Config(
        vision_config=vision, text_config=_llama(tokenizer), image_token_id=4, scale_factor=2, **_ids()
    )
    images = Idefics3ImageProcessorPil(size={"longest_edge": 64}, max_image_size={"longest_edge": 32})
    processor = Idefics3Processor(images, tokenizer, image_seq_len=4, chat_template=CHAT)
    return _save(folder, Idefics3ForConditionalGeneration(config), processor)


FAMILIES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "llava": (llava, "Describe it."),
    "joycaption": (joycaption, "Describe it."),
    "llava_without_template": (llava_without_template, "USER: <image> Describe it. ASSISTANT:"),
    "blip2": (blip2, ""),
    "qwen2_vl": (qwen2_vl, "Describe it."),
    "qwen2_5_vl": (qwen2_5_vl, "Describe it."),
    "florence2": (florence2, "<CAPTION>"),
    "git": (git, ""),
    "vit_gpt2": (vit_gpt2, ""),
    "paligemma": (paligemma, "caption en"),
    "idefics3": (idefics3, "Describe it."),
}
"""Each family with a prompt it understands."""


def make(family: str, folder: Path, seed: int = 1) -> Path:
    """Saves the family's miniature in the folder."""
    torch.manual_seed(seed)
    return FAMILIES[family][0](folder)
