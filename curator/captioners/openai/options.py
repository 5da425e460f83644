"""Options of the openai strategy."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from curator.captioners import StrategyOptions
from curator.captioners.model.answer import UNFINISHED_HELP, Unfinished

PROMPT = "Describe this image in one sentence for a caption. Answer with the caption alone."


class Options(StrategyOptions):
    model: str = Field(min_length=1, description="The model's name, as the endpoint knows it.", examples=["gpt-5-mini"])
    base_url: str | None = Field(
        default=None,
        description="The API's address, such as http://localhost:8000/v1. [default: $OPENAI_BASE_URL, else OpenAI's]",
    )
    key_env: str = Field(default="OPENAI_API_KEY", description="The environment variable that holds the key.")
    revision: str = Field(
        default="", description="The model's version, if you know it; recorded, and part of the digest."
    )
    prompt: str = Field(default=PROMPT, min_length=1, description="The prompt; may have ${field} placeholders.")
    system: str = Field(default="", description="A system message; may have ${field} placeholders.")
    max_tokens: int = Field(default=300, ge=1, le=65536, description="The longest answer, in tokens.")
    unfinished: Unfinished = Field(default="sentence", description=UNFINISHED_HELP)
    temperature: float | None = Field(default=None, ge=0, le=2, description="Default: the endpoint's own.")
    seed: int | None = Field(default=None, description="For endpoints that sample reproducibly.")
    detail: Literal["low", "high", "auto"] | None = Field(
        default=None, description="Detail of the image, for endpoints that offer a choice."
    )
    max_side_px: int = Field(default=1024, ge=16, le=8192, description="Longer side of the image that is sent.")
    jpeg_quality: int = Field(default=90, ge=1, le=100, description="Quality of the image that is sent.")
    concurrency: int = Field(default=8, ge=1, le=512, description="Requests at a time.")
    batch_size: int | None = Field(default=None, ge=1, description="Images stored at once. [default: 4 x concurrency]")
    requests_per_minute: float | None = Field(default=None, gt=0, description="Default: no limit.")
    tokens_per_minute: float | None = Field(default=None, gt=0, description="Input and output. Default: no limit.")
    timeout_s: float = Field(default=120, gt=0, description="For one request, in seconds.")
    retries: int = Field(default=6, ge=0, le=100, description="Retries of a request.")
    back_off_s: float = Field(
        default=1, gt=0, le=60, description="Seconds before the first retry; doubled before each next one."
    )
    price_per_million_input: float = Field(default=0, ge=0, description="US dollars for a million input tokens.")
    price_per_million_output: float = Field(default=0, ge=0, description="US dollars for a million output tokens.")

    @field_validator("base_url")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        from curator.captioners.openai.endpoint import checked_url

        return checked_url(value) if value is not None else None

    @field_validator("key_env")
    @classmethod
    def _names_a_variable(cls, value: str) -> str:
        """Do not quote the rejected value: it may be the API key."""
        if not (value.isascii() and value.isidentifier() and value == value.upper()):
            raise ValueError("the name of an environment variable, such as MY_KEY; never the key itself")
        return value

    @field_validator("prompt", "system")
    @classmethod
    def _is_well_formed(cls, value: str) -> str:
        from curator.captioners.model.prompt import field_names

        field_names(value)
        return value.strip()
