"""A caption by a prompted vision-language model, from the hub or a local folder.

    curator caption zoo --strategy vision --set joy -o model=fancyfeast/llama-joycaption-beta-one-hf-llava \\
        -o 'prompt=Write a caption for this image in one sentence.' -o 'system=You are a helpful image captioner.'

Works with any model that transformers lists as image-text-to-text or image-to-text. Models with a chat template are
prompted through it, others by the prompt alone. Prompts for some models:

    Qwen2-VL, Qwen2.5-VL, Qwen3-VL, LLaVA, JoyCaption, SmolVLM:   prompt='Describe this picture in one sentence.'
    LLaVA without a chat template:                                prompt='USER: <image> Describe it. ASSISTANT:'
    Florence-2:                                                   prompt='<DETAILED_CAPTION>'
    PaliGemma:                                                    prompt='caption en'
    BLIP-2, GIT:                                                  no prompt, or the caption's start: 'a painting of'
    ViT-GPT2:                                                     no prompt

`${field}` in the prompt inserts metadata, by the rules of `template`: 'Caption this picture of ${name}.' The reasoning
of a model is removed from its answer.

Sampling (decode=nucleus) is keyed by seed and image, so the same image gets the same caption in any batch. In half
precision, rounding depends on the batch and may swap two tokens of nearly equal probability. An answer cut off by
max_new_tokens keeps its whole sentences (`unfinished`). The model's own penalties, such as no_repeat_ngram_size, stay.

Code that ships with a model (trust_remote_code) is never run; use versions made for transformers itself. Tested with
small random weights: LLaVA (with and without a template, and as JoyCaption), BLIP-2, Qwen2-VL, Qwen2.5-VL, Florence-2,
GIT, ViT-GPT2, PaliGemma, Idefics3 (as SmolVLM). Other models are untested.
"""

from __future__ import annotations

from curator.captioners import Model
from curator.captioners.model import CaptionModel, load_from_module
from curator.captioners.vision.options import Options

VERSION = 1
LOCATIONS = frozenset({"model", "revision"})  # `model` puts the exact revision into the digest
SPEED_OPTIONS = frozenset({"device", "batch_size"})


def fields(options: Options, available: list[str]) -> list[str]:
    from curator.captioners.model.prompt import field_names

    return field_names(options.prompt)


def model(options: Options) -> Model:
    """Find the model and its revision without loading it. Raises NotFound, BadOption."""
    from curator.captioners.model.source import find_source

    source = find_source(options.model, options.revision)
    return Model(name=source.name, revision=source.revision)


def load_model(options: Options) -> CaptionModel:
    """Load the model. Raises NotFound, BadOption, MachineFailed, DoesNotFit."""
    return load_from_module("vision", "curator.captioners.vision.captioner", options)
