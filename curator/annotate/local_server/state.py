"""Addresses and secrets that `annotate start` leaves for the other commands.

They are in one folder beside the catalog, `<catalog>.label-studio`, mode 0700, secrets in files of mode 0600.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from curator.secret_files import write_secret
from schemas.document import first_problem
from schemas.errors import BadDocument


class LocalServer(BaseModel):
    """The Label Studio of one catalog, kept from one start to the next."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    url: str = Field(description="Where annotators log in, as last started.")
    images_url: str = Field(description="Where the previews are served, as last started.")
    owner: str = Field(description="The owner's login, an address that receives no mail.")
    password: str
    token: str = Field(description="Legacy API token of the owner.")
    database: str | None = Field(default=None, description="postgresql:// URL with its password; None is SQLite.")


def state_folder(catalog_path: Path) -> Path:
    """Return `<catalog>.label-studio` beside the catalog. Make it if missing, mode 0700."""
    folder = catalog_path.with_name(f"{catalog_path.name}.label-studio")
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def read_local_server(catalog_path: Path) -> LocalServer | None:
    """Read the state of the last `annotate start`, None if there was none. Raise BadDocument."""
    path = _path(catalog_path)
    try:
        return LocalServer.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise BadDocument(f"{path}: {first_problem(error)}. Put back a good copy of it.") from error


def write_local_server(catalog_path: Path, server: LocalServer) -> None:
    """Write the state, whole or not at all, mode 0600."""
    state_folder(catalog_path)
    write_secret(_path(catalog_path), server.model_dump_json(indent=2).encode() + b"\n")


def _path(catalog_path: Path) -> Path:
    return catalog_path.with_name(f"{catalog_path.name}.label-studio") / "server.json"
