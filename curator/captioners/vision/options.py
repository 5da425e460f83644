"""Options of the vision strategy."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from curator.captioners import StrategyOptions, reject_unused_options
from curator.captioners.model.answer import UNFINISHED_HELP, Unfinished


class Options(StrategyOptions):
    model: str = Field(
        min_length=1, description="A model of the hub, or a folder.", examples=["Qwen/Qwen2.5-VL-3B-Instruct"]
    )
    revision: str | None = Field(default=None, description="A commit, tag or branch of the hub. Default: the newest.")
    prompt: str = Field(default="", description="The prompt; may have ${field} placeholders.")
    system: str = Field(default="", description="A system message, for models with a chat template.")
    max_new_tokens: int = Field(default=256, ge=1, le=8192, description="The longest answer, in tokens.")
    unfinished: Unfinished = Field(default="sentence", description=UNFINISHED_HELP)
    decode: Literal["greedy", "beam", "nucleus"] = Field(
        default="greedy",
        description="The most likely token; beam search (num_beams); or sampling (temperature, top_p, seed).",
    )
    num_beams: int = Field(default=3, ge=2, le=32, description="beam: the number of beams.")
    temperature: float = Field(default=0.6, gt=0, le=10, description="nucleus: below 1 is less varied.")
    top_p: float = Field(default=0.9, gt=0, le=1, description="nucleus: probability of the tokens to sample from.")
    seed: int = Field(default=0, description="nucleus: another seed samples other captions.")
    max_pixels: int = Field(default=1_048_576, ge=1024, description="Images with more pixels are downscaled.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="Precision of the weights; auto: float32 on a CPU, bfloat16 on a GPU that has it."
    )
    device: str = Field(default="auto", description="cpu, cuda, cuda:1, mps; auto: the first accelerator found.")
    batch_size: int | None = Field(default=None, ge=1, description="Images at once. Default: found by measuring.")

    @field_validator("prompt", "system")
    @classmethod
    def _is_stripped(cls, value: str) -> str:
        return value.strip()

    @field_validator("prompt")
    @classmethod
    def _has_good_placeholders(cls, value: str) -> str:
        from curator.captioners.model.prompt import field_names

        field_names(value)
        return value

    @model_validator(mode="after")
    def _options_are_used(self) -> Options:
        owners = {"num_beams": "beam", "temperature": "nucleus", "top_p": "nucleus", "seed": "nucleus"}
        reject_unused_options(self, "decode", owners)
        return self
