"""A caption by a vision-language model of the Hugging Face hub, or of a folder, with a prompt.

    curator caption zoo --strategy vision --set joy -o model=fancyfeast/llama-joycaption-beta-one-hf-llava \\
        -o 'prompt=Write a caption for this image in one sentence.' -o 'system=You are a helpful image captioner.'

Any model that transformers knows as image-text-to-text or image-to-text: it is asked through its chat template where it
has one, otherwise by the prompt as it is. What to say to some:

    Qwen2-VL, Qwen2.5-VL, Qwen3-VL, LLaVA, JoyCaption, SmolVLM:   prompt='Describe this picture in one sentence.'
    LLaVA without a chat template:                                prompt='USER: <image> Describe it. ASSISTANT:'
    Florence-2:                                                   prompt='<DETAILED_CAPTION>'
    PaliGemma:                                                    prompt='caption en'
    BLIP-2, GIT:                                                  no prompt, or how the caption begins: 'a painting of'
    ViT-GPT2:                                                     no prompt

`${field}` in the prompt puts in what the metadata says, by the rules of `template`: 'Caption this picture of ${name}.'
Only the answer becomes the caption; the thoughts of a model that thinks aloud are left out.

Sampling (decode=nucleus) is keyed by seed and image: neighbours don't matter, and the same image gets the same caption.
So it is in float32 on a CPU; in half precision two tokens that are nearly as likely may change places with the batch.
An answer cut off by max_new_tokens keeps its whole sentences (`unfinished`). Penalties of the model's own, such as
no_repeat_ngram_size, are kept.

Code that comes with a model (trust_remote_code) is never run: take versions made for transformers itself. Tested with
small random weights: LLaVA (with and without a template, and JoyCaption's kind), BLIP-2, Qwen2-VL, Qwen2.5-VL,
Florence-2, GIT, ViT-GPT2, PaliGemma, Idefics3 (SmolVLM's kind). Others go the same way, untried.
"""

from __future__ import annotations

from curator.captioners import Model
from curator.captioners.model import Machine, open_machine
from curator.captioners.vision.options import Options

VERSION = 1
LOCATIONS = frozenset({"model", "revision"})  # the digest has the model's name and exact revision instead
PACE = frozenset({"device", "batch_size"})


def fields(options: Options, available: list[str]) -> list[str]:
    """Those that the prompt names."""
    from curator.captioners.model.prompt import field_names

    return field_names(options.prompt)


def model(options: Options) -> Model:
    """The model by the commit or the digest of its files."""
    from curator.captioners.model.source import find_source

    source = find_source(options.model, options.revision)
    return Model(name=source.name, revision=source.revision)


def machine(options: Options) -> Machine:
    """Loads it. Raises NotFound, BadOption, MachineFailed, DoesNotFit."""
    return open_machine("vision", "curator.captioners.vision.captioner", options)
