"""Click options generated from a training run's options."""

from __future__ import annotations

import types
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import click
from pydantic import ValidationError

from schemas.errors import BadOption
from trainer_client.config import OPTIONS, SECTIONS, TrainConfig
from trainer_client.config.option import REQUIRED, Option

ARGUMENT = "snapshot"
SHORT = {"lr": "learning_rate"}  # Short name -> option.
Decorated = Callable[..., Any]


class WholeNumbers(click.ParamType):  # type: ignore[type-arg]  # Generic since click 8.4 only.
    """Whole numbers separated by commas: `1,2,5`."""

    name = "N,N,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(int(part) for part in str(value).split(",") if part.strip())
        except ValueError:
            self.fail(f"{value!r} is not a list of whole numbers. Write them with commas: 1,2,5.", param, ctx)


class Epochs(WholeNumbers):
    """Epochs separated by commas, or `all`."""

    name = "N,N,...|all"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "all":
            return value
        epochs = super().convert(value, param, ctx)
        if (not epochs and value) or min(epochs, default=0) < 0:
            self.fail(f"{value!r}: give epochs from 0 (the base model) on, or `all`.", param, ctx)
        return epochs


class GroupedOption(click.Option):
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
    """A command whose `--help` lists options by section."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in sorted(self.get_params(ctx), key=lambda param: not hasattr(param, "group")):
            record = param.get_help_record(ctx)
            if record is not None:
                sections.setdefault(getattr(param, "group", "Output"), []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


def train_options(leaving_out: Collection[str] = ()) -> Callable[[Decorated], Decorated]:
    """Decorate a command with the options and the argument of a training run, except `leaving_out`."""

    def decorate(command: Decorated) -> Decorated:
        for section, names in reversed(SECTIONS.items()):
            for name in reversed(names.split()):
                if name not in leaving_out:
                    command = _parameter(OPTIONS[name], section)(command)
        return command

    return decorate


def config_of(values: dict[str, Any]) -> TrainConfig:
    """Return the config of parsed values. Raise BadOption, which names the option."""
    try:
        return TrainConfig.of(**{name: value for name, value in values.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        flag = f"--{str(first['loc'][0]).replace('_', '-')}: " if first["loc"] else ""
        raise BadOption(f"{flag}{first['msg'].removeprefix('Value error, ')}.") from error
    except ValueError as error:
        raise BadOption(f"{error}.") from error


def _parameter(option: Option, section: str) -> Callable[[Decorated], Decorated]:
    kind = option_type(option.annotation)
    if option.name == ARGUMENT:
        settings: dict[str, Any] = {"cls": GroupedArgument, "group": section, "help": option.help}
        return click.argument(option.name, type=kind, metavar=option.name.upper(), **settings)
    required = option.default is REQUIRED
    shown = option.shown or _shown(None if required else option.default)
    text = f"{option.help}  [default: {shown}]" if shown else option.help
    settings = {"cls": GroupedOption, "group": section, "help": text}
    if not required:
        settings["default"] = option.default
    flag = f"--{option.name.replace('_', '-')}"
    if option.annotation is bool:
        return click.option(flag, option.name, is_flag=True, **settings)
    flags = [flag, *(f"--{short}" for short, stands_for in SHORT.items() if stands_for == option.name)]
    return click.option(*flags, option.name, type=kind, required=required, **settings)


def _shown(default: Any) -> str:
    """Return a default as a person would type it; "" if off or required."""
    if default is None or default is False:
        return ""
    if isinstance(default, tuple):
        return ",".join(map(str, default))
    return f"{default:g}" if isinstance(default, float) else str(default)


def option_type(annotation: Any) -> click.ParamType[Any]:
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
