"""Click options made from a typed config, so that a default, a limit or a help text is written once.

A field's annotation gives the option's type, its description the help, its `group` the section of `--help`.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin

import click
from pydantic import ValidationError
from pydantic_core import PydanticUndefined

from schemas.errors import BadOption

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

Config = TypeVar("Config", bound="BaseModel")
Decorated = Callable[..., Any]


class WholeNumbers(click.ParamType):  # type: ignore[type-arg]  # Generic since click 8.4 only.
    """Numbers with commas between: `1,2,5`."""

    name = "N,N,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(int(part) for part in str(value).split(",") if part.strip())
        except ValueError:
            self.fail(f"{value!r} is not whole numbers with commas between.", param, ctx)


class Epochs(WholeNumbers):
    """Epochs with commas between, or `all`."""

    name = "N,N,...|all"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "all":
            return value
        found = super().convert(value, param, ctx)
        if (not found and value) or min(found, default=0) < 0:
            self.fail(f"{value!r}: epochs are 0 (the base), 1, 2 and so on, or `all`.", param, ctx)
        return found


class GroupedOption(click.Option):
    """An option that knows its section of `--help`."""

    def __init__(self, *args: Any, group: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group


class GroupedArgument(click.Argument):
    """An argument that `--help` explains in a section."""

    def __init__(self, *args: Any, group: str, help: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group, self.text = group, help

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:
        return self.make_metavar(ctx), f"{self.text}  [required]"


class GroupedCommand(click.Command):
    """A command whose `--help` shows options in sections, in the order of their config's fields."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in sorted(self.get_params(ctx), key=lambda param: not hasattr(param, "group")):
            record = param.get_help_record(ctx)
            if record is not None:
                sections.setdefault(getattr(param, "group", "Output"), []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


def options_of(model: type[BaseModel], leaving_out: Collection[str] = ()) -> Callable[[Decorated], Decorated]:
    """Decorates a command with an option (or argument) for every field of `model`, in order, but those left out."""

    def decorate(command: Decorated) -> Decorated:
        for name, field in reversed(model.model_fields.items()):
            if name not in leaving_out:
                command = _parameter(name, field)(command)
        return command

    return decorate


def config_of(model: type[Config], values: dict[str, Any]) -> Config:
    """The config for a command's parsed values. Raises BadOption naming the option."""
    given = {name: value for name, value in values.items() if value is not None}
    try:
        return model(**given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = f"--{str(first['loc'][0]).replace('_', '-')}: " if first["loc"] else ""
        raise BadOption(f"{where}{first['msg'].removeprefix('Value error, ')}.") from error


def _parameter(name: str, field: FieldInfo) -> Callable[[Decorated], Decorated]:
    extra: Any = field.json_schema_extra or {}
    kind = option_type(field.annotation)
    if extra.get("argument"):
        settings = {"group": extra["group"], "help": field.description}
        return click.argument(name, cls=GroupedArgument, type=kind, metavar=name.upper(), **settings)
    flag = f"--{name.replace('_', '-')}"
    required = field.default is PydanticUndefined
    default = None if required else field.default
    shown = extra.get("shown") or _shown(default)
    text = f"{field.description}  [default: {shown}]" if shown else field.description
    settings = {"cls": GroupedOption, "group": extra["group"], "help": text}
    if not required:
        settings["default"] = default
    if field.annotation is bool:
        return click.option(flag, name, is_flag=True, **settings)
    flags = [flag, *(f"--{short}" for short, stands_for in SHORT.items() if stands_for == name)]
    return click.option(*flags, name, type=kind, required=required, **settings)


def _shown(default: Any) -> str:
    """A default as it would be typed; nothing for what is off or required."""
    if default is None or default is False:
        return ""
    if isinstance(default, tuple):
        return ",".join(map(str, default))
    return f"{default:g}" if isinstance(default, float) else str(default)


def option_type(annotation: Any) -> click.ParamType[Any]:
    """What the command line reads a field of this annotation with."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return option_type(next(argument for argument in arguments if argument is not type(None)))
    if origin is tuple:
        return WholeNumbers()
    if origin is Literal:
        return click.Choice(arguments)
    simple: dict[Any, click.ParamType[Any]] = {
        int: click.INT,
        float: click.FLOAT,
        str: click.STRING,
        bool: click.BOOL,
        Path: click.Path(path_type=Path),
    }
    return simple[annotation]


SHORT = {"lr": "learning_rate"}  # Names that people type, and what they stand for.
