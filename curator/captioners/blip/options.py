"""Options of the BLIP strategy."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from curator.captioners import StrategyOptions, refuse_idle


class Options(StrategyOptions):
    """Which BLIP, and how it writes."""

    model: str = Field(
        default="Salesforce/blip-image-captioning-base",
        min_length=1,
        description="A name on the Hugging Face hub, or a folder.",
        examples=["examples/mini/blip"],
    )
    revision: str | None = Field(default=None, description="A branch, tag or commit of the hub's; none: its main one.")
    prompt: str = Field(default="", description="Words that every caption begins with.", examples=["a picture of"])
    keep_prompt: bool = Field(default=True, description="Whether the prompt's words stay in the caption.")
    decode: Literal["greedy", "beam", "nucleus"] = Field(default="greedy", description="How words are chosen.")
    num_beams: int = Field(default=3, ge=2, le=16, description="beam: captions written side by side.")
    length_penalty: float = Field(default=1.0, description="beam: above 0 favours longer captions, below shorter ones.")
    top_p: float = Field(default=0.9, gt=0, le=1, description="nucleus: probability that the words drawn from reach.")
    temperature: float = Field(default=1.0, gt=0, description="nucleus: below 1 keeps to the likelier words.")
    seed: int = Field(default=0, description="nucleus: another seed draws other captions.")
    min_new_tokens: int = Field(default=0, ge=0, description="Tokens (words and parts of words) at least.")
    max_new_tokens: int = Field(default=20, ge=1, le=512, description="Tokens at most, the prompt's not counted.")
    repetition_penalty: float = Field(default=1.0, gt=0, description="Above 1: words used already become less likely.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="Precision; auto: bfloat16 on a GPU that has it, float32 on the CPU."
    )
    batch_size: int | None = Field(default=None, ge=1, description="Pictures at once; none: as the device likes it.")
    device: str = Field(
        default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto (a GPU where there is one), cpu, cuda:N."
    )

    @model_validator(mode="after")
    def _lengths_fit(self) -> Self:
        if self.min_new_tokens > self.max_new_tokens:
            raise ValueError(f"min_new_tokens={self.min_new_tokens} is more than max_new_tokens={self.max_new_tokens}")
        return self

    @model_validator(mode="after")
    def _of_one_decoder(self) -> Self:
        of_nucleus = dict.fromkeys(("top_p", "temperature", "seed"), "nucleus")
        refuse_idle(self, "decode", {"num_beams": "beam", "length_penalty": "beam", **of_nucleus})
        return self
