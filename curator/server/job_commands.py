"""Which commands may be jobs, and what they may name.

Where only people of this machine reach the service a job may name any path. Else every path, wherever it stands in the
command, must lie in a folder that `curator serve --allow` names, or in the jobs' own; and an address that a model is
reached by is the service's to choose, since its keys go there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from schemas.errors import BadOption

COMMANDS = (
    ("ingest",),
    ("caption",),
    ("check",),
    ("commit",),
    ("compare",),
    ("snapshot",),
    ("annotate", "push"),
    ("annotate", "pull"),
)
# Given by the service; `--watch` never ends.
OURS = ("--catalog", "--server", "--json", "--as", "--watch")
OF_KEYS = ("base_url", "key_env")


def checked(program: click.Group, words: Sequence[str], folder: Path, allowed: tuple[Path, ...] | None) -> list[str]:
    """Return the command as it may run. Raises BadOption.

    `program` is the command line of `curator`; relative paths of the command are in `folder`; `allowed` lists the
    folders it may name (None: any).
    """
    words = list(words)
    name = _name(words)
    command = _command(program, name)
    if ours := [word for word in words if word.partition("=")[0] in OURS]:
        raise BadOption(f"{ours[0]}: a job gets this from the service. Leave it out.")
    try:
        given = command.make_context(" ".join(name), words[len(name) :]).params
    except click.exceptions.Exit as error:  # --help
        raise BadOption(f"{' '.join(words)}: there is nothing to do.") from error
    except click.ClickException as error:
        raise BadOption(error.format_message()) from error
    if allowed is not None:
        _check_paths([value for key, value in given.items() if key != "catalog"], folder, allowed)
    return words


def knows_person(program: click.Group, words: Sequence[str]) -> bool:
    """Whether the command can be told who is doing it."""
    return any("--as" in parameter.opts for parameter in _command(program, _name(words)).params)


def _name(words: Sequence[str]) -> tuple[str, ...]:
    for name in COMMANDS:
        if tuple(words[: len(name)]) == name:
            return name
    known = ", ".join(" ".join(name) for name in COMMANDS)
    raise BadOption(f"{' '.join(words[:2]) or 'nothing'}: not a job. There are: {known}.")


def _command(program: click.Group, name: tuple[str, ...]) -> click.Command:
    found: click.Command = program
    for word in name:
        assert isinstance(found, click.Group)
        found = found.commands[word]
    return found


def _check_paths(values: Sequence[Any], folder: Path, allowed: tuple[Path, ...]) -> None:
    """Raises BadOption for a path elsewhere, also behind `=`, and for what decides where a key goes."""
    for value in values:
        if isinstance(value, list | tuple):
            _check_paths(value, folder, allowed)
        elif isinstance(value, str | Path):
            parts = str(value).split("=")
            if any(part.strip() in OF_KEYS for part in parts[:-1]):
                raise BadOption(f"{value}: not from another machine, since the service's key would go there.")
            for start in range(len(parts)):
                _check_path("=".join(parts[start:]).strip(), folder, allowed)


def _check_path(text: str, folder: Path, allowed: tuple[Path, ...]) -> None:
    if text.startswith("~"):
        raise BadOption(f"{text}: write the path whole.")
    place = (folder / text).resolve()
    if not any(place.is_relative_to(one) for one in (folder.resolve(), *allowed)):
        raise BadOption(f"{text}: this service doesn't let jobs go there. Allow it: curator serve --allow FOLDER")
