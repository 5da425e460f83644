"""One option of a training run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticUndefined

REQUIRED = PydanticUndefined


class Options(BaseModel):
    """A group of options that are used together."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Option:
    """A field of an options model. `shown` describes in `--help` a default that is not a fixed value."""

    name: str
    annotation: Any
    help: str
    default: Any  # REQUIRED if there is none.
    shown: str | None = None
    decides: bool = True  # Whether it changes what is learned, sampled or measured.
    limits: tuple[Any, ...] = ()


def option(default: Any, help: str, *, decides: bool = True, shown: str | None = None, **limits: Any) -> Any:
    """Declare a field of an options model. `limits` are pydantic's: gt, ge, lt, le."""
    return Field(default, description=help, json_schema_extra={"decides": decides, "shown": shown}, **limits)


def options_in(model: type[Options]) -> dict[str, Option]:
    options = {}
    for name, field in model.model_fields.items():
        extra: Any = field.json_schema_extra or {}
        options[name] = Option(
            name, field.annotation, field.description or "", field.default, limits=tuple(field.metadata), **extra
        )
    return options
