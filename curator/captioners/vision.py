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

from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator, model_validator

from curator.captioners import Model, StrategyOptions, refuse_idle
from curator.machines.answer import UNFINISHED_HELP, Unfinished

if TYPE_CHECKING:
    from curator.machines import Machine

VERSION = 1
LOCATIONS = frozenset({"model", "revision"})  # the digest has the model's name and exact revision instead
PACE = frozenset({"device", "batch_size"})


class Options(StrategyOptions):
    """The model, what it is asked, and how it decodes."""

    model: str = Field(
        min_length=1, description="A model of the hub, or a folder.", examples=["Qwen/Qwen2.5-VL-3B-Instruct"]
    )
    revision: str | None = Field(default=None, description="A commit, tag or branch of the hub; the newest without it.")
    prompt: str = Field(default="", description="What it is asked; may have ${field} placeholders.")
    system: str = Field(default="", description="A system message, for models with a chat template.")
    max_new_tokens: int = Field(default=256, ge=1, le=8192, description="The longest answer, in tokens.")
    unfinished: Unfinished = Field(default="sentence", description=UNFINISHED_HELP)
    decode: Literal["greedy", "beam", "nucleus"] = Field(
        default="greedy",
        description="The likeliest token each time; beam search (num_beams); or drawn (temperature, top_p, seed).",
    )
    num_beams: int = Field(default=3, ge=2, le=32, description="Beams of decode=beam.")
    temperature: float = Field(default=0.6, gt=0, le=10, description="Of decode=nucleus; below 1 is less varied.")
    top_p: float = Field(
        default=0.9, gt=0, le=1, description="decode=nucleus draws from the likeliest tokens that make up this share."
    )
    seed: int = Field(default=0, description="Of decode=nucleus.")
    max_pixels: int = Field(
        default=1_048_576, ge=1024, description="Pictures with more pixels are made smaller first; never larger."
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="Of the weights; auto: float32 on a CPU, bfloat16 on a GPU that has it."
    )
    device: str = Field(default="auto", description="cpu, cuda, cuda:1, mps; auto: the first accelerator there is.")
    batch_size: int | None = Field(default=None, ge=1, description="Pictures at once; found out without it.")

    @field_validator("prompt", "system")
    @classmethod
    def _is_well_formed(cls, value: str) -> str:
        return value.strip()

    @field_validator("prompt")
    @classmethod
    def _has_good_placeholders(cls, value: str) -> str:
        from curator.machines.prompt import field_names

        field_names(value)
        return value

    @model_validator(mode="after")
    def _of_one_decoder(self) -> Options:
        owners = {"num_beams": "beam", "temperature": "nucleus", "top_p": "nucleus", "seed": "nucleus"}
        refuse_idle(self, "decode", owners)
        return self


def fields(options: Options, available: list[str]) -> list[str]:
    """Those that the prompt names."""
    from curator.machines.prompt import field_names

    return field_names(options.prompt)


def model(options: Options) -> Model:
    """The model by the commit or the digest of its files."""
    from curator.machines.source import find_source

    source = find_source(options.model, options.revision)
    return Model(name=source.name, revision=source.revision)


def machine(options: Options) -> Machine:
    """Loads it. Raises NotFound, BadOption, MachineFailed, DoesNotFit."""
    try:
        from curator.machines.vision.machine import open_machine
    except ImportError as error:
        from curator.machines import MachineFailed

        raise MachineFailed(f"vision needs the package {error.name}: pip install 'amatl[captioning]'.") from error
    return open_machine(options)
