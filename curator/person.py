"""The person who runs a command, if `--as` isn't given."""

from __future__ import annotations

import getpass


def user_name() -> str:
    """Return the operating system's user name; `unknown` without one, as in some containers."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"
