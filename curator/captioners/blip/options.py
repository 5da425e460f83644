"""Options of the BLIP strategy."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from curator.captioners import StrategyOptions, reject_unused_options


class Options(StrategyOptions):
    model: str = Field(
        default="Salesforce/blip-image-captioning-base",
        min_length=1,
        description="A name on the Hugging Face hub, or a folder.",
        examples=["examples/mini/blip"],
    )
    revision: str | None = Field(default=None, description="A branch, tag or commit of the hub; none: the main branch.")
    prompt: str = Field(default="", description="The first words of every caption.", examples=["a picture of"])
    keep_prompt: bool = Field(default=True, description="Keep the prompt's words in the caption.")
    decode: Literal["greedy", "beam", "nucleus"] = Field(default="greedy", description="The decoding method.")
    num_beams: int = Field(default=3, ge=2, le=16, description="beam: the number of parallel captions.")
    length_penalty: float = Field(default=1.0, description="beam: above 0 favours longer captions, below shorter ones.")
    top_p: float = Field(default=0.9, gt=0, le=1, description="nucleus: total probability of the words to sample from.")
    temperature: float = Field(default=1.0, gt=0, description="nucleus: below 1 favours the more likely words.")
    seed: int = Field(default=0, description="nucleus: another seed samples other captions.")
    min_new_tokens: int = Field(default=0, ge=0, description="The fewest tokens (words and parts of words).")
    max_new_tokens: int = Field(default=20, ge=1, le=512, description="The most tokens, without the prompt's.")
    repetition_penalty: float = Field(default=1.0, gt=0, description="Above 1: words already used become less likely.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="Precision; auto: bfloat16 on a GPU that has it, float32 on the CPU."
    )
    batch_size: int | None = Field(default=None, ge=1, description="Images at once; none: chosen for the device.")
    device: str = Field(
        default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto (a GPU if there is one), cpu, cuda:N."
    )

    @model_validator(mode="after")
    def _lengths_fit(self) -> Self:
        if self.min_new_tokens > self.max_new_tokens:
            raise ValueError(f"min_new_tokens={self.min_new_tokens} is more than max_new_tokens={self.max_new_tokens}")
        return self

    @model_validator(mode="after")
    def _options_are_used(self) -> Self:
        nucleus = dict.fromkeys(("top_p", "temperature", "seed"), "nucleus")
        reject_unused_options(self, "decode", {"num_beams": "beam", "length_penalty": "beam", **nucleus})
        return self
