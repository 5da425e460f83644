"""Who is at the keyboard, where no `--as` says so."""

from __future__ import annotations

import getpass


def user_name() -> str:
    """The operating system's user name; `unknown` where it has none (a container without one)."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"
