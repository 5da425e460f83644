"""Recipes: TOML files whose keys are options of `trainer train`, and `--set key=value`.

Precedence: command line, `--set`, recipe, defaults. Paths are relative to the working folder.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import click
from pydantic import ConfigDict, TypeAdapter, ValidationError

from schemas.errors import BadDocument, BadOption, NotFound
from trainer_client.config import OPTIONS
from trainer_client.config.click_options import SHORT, GroupedOption, WholeNumbers, option_type
from trainer_client.config.option import Option

Decorated = Callable[..., Any]


def read_recipe(path: Path) -> dict[str, Any]:
    """Return the options by field. Raise NotFound, or BadDocument with file and key."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFound(f"{path}: there is no such file. Give --recipe a TOML file; see examples/recipes.") from error
    except OSError as error:
        raise BadDocument(f"{path}: can't be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise BadDocument(f"{path}: not UTF-8 text.") from error
    except tomllib.TOMLDecodeError as error:
        raise BadDocument(f"{path}: not TOML ({error}). Write `epochs = 45`, one option a line.") from error
    try:
        return _options(values)
    except BadOption as error:
        raise BadDocument(f"{path}: {error}") from None


def read_settings(settings: Sequence[str]) -> dict[str, Any]:
    """Return the options in `--set` arguments, by field. Raise BadOption with the key."""
    values: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise BadOption(f"--set {setting}: write --set key=value.")
        if key.strip() in values:
            raise BadOption(f"--set: `{key.strip()}` is given twice.")
        values[key.strip()] = value.strip()
    try:
        return _options(values)
    except BadOption as error:
        raise BadOption(f"--set: {error}") from None


def _options(values: Mapping[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for key, value in values.items():
        name = SHORT.get(key, key.replace("-", "_"))
        if name not in OPTIONS:
            raise BadOption(_unknown(key, value))
        if name in options:
            raise BadOption(f"`{key}` is given twice.")
        options[name] = _typed(key, value, OPTIONS[name])
    return options


def _unknown(key: str, value: Any) -> str:
    if isinstance(value, dict):
        return f"[{key}] is a table. Write options at the top level, without a heading."
    close = difflib.get_close_matches(key.replace("-", "_"), [*OPTIONS, *SHORT], n=1)
    hint = f"Did you mean `{close[0]}`?" if close else "`trainer train --help` lists them."
    return f"there is no option `{key}`. {hint}"


def _typed(key: str, value: Any, option: Option) -> Any:
    """Return the value converted as on the command line. Raise BadOption."""
    kind = option_type(option.annotation)
    try:
        converted = kind.convert(_as_typed(value, kind), None, None)
        limited: Any = Annotated[option.annotation, key, *option.limits]
        TypeAdapter(limited, config=ConfigDict(allow_inf_nan=False)).validate_python(converted)
    except click.BadParameter as error:
        raise BadOption(f"`{key}`: {error.message.rstrip('.')}.") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise BadOption(f"`{key}` {value}: {first['msg']}.") from None
    return converted


def _as_typed(value: Any, kind: click.ParamType[Any]) -> str:
    """Return the text that a person would type. Raise BadParameter if the TOML type is wrong."""
    if isinstance(value, list) and isinstance(kind, WholeNumbers):
        return ",".join(map(str, value))
    if isinstance(value, (list, dict)):
        raise click.BadParameter(f"{value!r} is {'a list' if isinstance(value, list) else 'a table'}. Give one value")
    takes_text = kind is click.STRING or isinstance(kind, (click.Path, click.Choice))
    if not isinstance(value, str) and (takes_text or not isinstance(value, (int, float))):
        raise click.BadParameter(f"{value} is not text. Put it in quotes")
    return str(value)


def recipe_options(command: Decorated) -> Decorated:
    """Decorate a command with `--recipe` and `--set`, which set its other options."""

    def remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value:
            given = context.meta.setdefault(__name__, {})
            given[parameter.name] = read_recipe(value) if parameter.name == "recipe" else read_settings(value)
            context.default_map = {**given.get("recipe", {}), **given.get("settings", {})}

    shared: dict[str, Any] = {
        "cls": GroupedOption,
        "group": "Recipe",
        "is_eager": True,
        "expose_value": False,
        "callback": remember,
    }
    recipe = click.option(
        "--recipe",
        type=click.Path(path_type=Path),
        help="TOML file whose keys are these options. Options on the command line override it.",
        **shared,
    )
    settings = click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="KEY=VALUE",
        help="Override an option of the recipe; may be repeated.",
        **shared,
    )
    return recipe(settings(command))
