"""Errors for users: what went wrong, where, and what to do next.

A subclass's docstring is its default message. `schemas.edge` prints one line and exits with `exit_code`, without a
traceback.
"""


class AmatlError(Exception):
    """Something went wrong that you can put right."""

    exit_code = 1

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip())


class BadDocument(AmatlError, ValueError):
    """The document can't be read: it isn't what its name promises."""


class ChecksumMismatch(AmatlError):
    """A file's bytes aren't those its checksum was taken of. Copy it again from where it came."""


class NotFound(AmatlError, LookupError):
    """There is no such thing here."""


class AlreadyExists(AmatlError, FileExistsError):
    """It exists already and isn't overwritten. Choose another name."""


class NotEnoughSpace(AmatlError):
    """The disk is too full. Make room there, or choose a folder on another disk."""


class ServiceFailed(AmatlError):
    """The service can't be reached, or refuses. Look at its address and its log, then try again."""


class PortBusy(AmatlError):
    """Another program listens on this port. Choose another one, or stop that program."""


class BadOption(AmatlError, ValueError):
    """An option's value can't be used."""

    exit_code = 2
