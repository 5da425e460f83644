"""Options of the vision strategy."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from curator.captioners import StrategyOptions, refuse_idle
from curator.captioners.model.answer import UNFINISHED_HELP, Unfinished


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
        from curator.captioners.model.prompt import field_names

        field_names(value)
        return value

    @model_validator(mode="after")
    def _of_one_decoder(self) -> Options:
        owners = {"num_beams": "beam", "temperature": "nucleus", "top_p": "nucleus", "seed": "nucleus"}
        refuse_idle(self, "decode", owners)
        return self
