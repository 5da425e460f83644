"""The commands that may run as jobs, and the paths they may name.

If only this machine can reach the service, a job may name any path; otherwise only paths in `--allow` folders and the
jobs' own folder. Then a job must not choose a model's address either: the service's API key would be sent there.
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
# Set by the service; `--watch` never ends.
RESERVED = ("--catalog", "--server", "--json", "--as", "--watch")
KEY_OPTIONS = ("base_url", "key_env")  # decide where an API key is sent


def check_command(
    program: click.Group, words: Sequence[str], folder: Path, allowed: tuple[Path, ...] | None
) -> list[str]:
    """Return the words of a valid command, or raise BadOption.

    `folder`: the start of relative paths. `allowed`: folders that may be named (None: any).
    """
    words = list(words)
    name = _name(words)
    command = _command(program, name)
    if reserved := [word for word in words if word.partition("=")[0] in RESERVED]:
        raise BadOption(f"{reserved[0]}: the service sets this option for a job. Leave it out.")
    try:
        values = command.make_context(" ".join(name), words[len(name) :]).params
    except click.exceptions.Exit as error:  # --help
        raise BadOption(f"{' '.join(words)}: a job can't show help.") from error
    except click.ClickException as error:
        raise BadOption(error.format_message()) from error
    if allowed is not None:
        _check_paths([value for key, value in values.items() if key != "catalog"], folder, allowed)
    return words


def knows_person(program: click.Group, words: Sequence[str]) -> bool:
    """Return whether it has the option `--as`."""
    return any("--as" in parameter.opts for parameter in _command(program, _name(words)).params)


def _name(words: Sequence[str]) -> tuple[str, ...]:
    for name in COMMANDS:
        if tuple(words[: len(name)]) == name:
            return name
    commands = ", ".join(" ".join(name) for name in COMMANDS)
    raise BadOption(f"{' '.join(words[:2]) or 'nothing'}: not a job command. Choose one of: {commands}.")


def _command(program: click.Group, name: tuple[str, ...]) -> click.Command:
    command: click.Command = program
    for word in name:
        assert isinstance(command, click.Group)
        command = command.commands[word]
    return command


def _check_paths(values: Sequence[Any], folder: Path, allowed: tuple[Path, ...]) -> None:
    """Raise BadOption for a forbidden path, also after `=`, or an option that redirects an API key."""
    for value in values:
        if isinstance(value, list | tuple):
            _check_paths(value, folder, allowed)
        elif isinstance(value, str | Path):
            parts = str(value).split("=")
            if any(part.strip() in KEY_OPTIONS for part in parts[:-1]):
                raise BadOption(f"{value}: not allowed in a job, because the service's API key would be sent there.")
            for start in range(len(parts)):
                _check_path("=".join(parts[start:]).strip(), folder, allowed)


def _check_path(text: str, folder: Path, allowed: tuple[Path, ...]) -> None:
    if text.startswith("~"):
        raise BadOption(f"{text}: write the full path, without ~.")
    path = (folder / text).resolve()
    if not any(path.is_relative_to(one) for one in (folder.resolve(), *allowed)):
        raise BadOption(f"{text}: jobs may not use this path. Allow it with: curator serve --allow FOLDER")
