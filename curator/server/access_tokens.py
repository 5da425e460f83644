"""The stage `token`: access from other machines. Only a token's hash is stored.

Scopes: `read` views; `annotate` also writes captions; `write` also ingests, commits and starts jobs.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Literal, get_args

from pydantic import BaseModel, Field

from curator.catalog import Catalog
from schemas.errors import BadOption, NotFound

Scope = Literal["read", "annotate", "write"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
# Lets secret scanners recognise a token.
PREFIX = "amatl_"
TOKEN_BYTES = 32


class NewToken(BaseModel):
    """A token, shown only once."""

    token: str
    person: str
    scope: Scope
    days: int | None = Field(description="Days until it expires; null: never.")


class KnownToken(BaseModel):
    id: int
    person: str
    scope: Scope
    made_by: str
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    holds: bool = Field(description="Whether it is neither revoked nor expired.")


class TokenList(BaseModel):
    """All tokens, revoked and expired ones too."""

    tokens: list[KnownToken]


class Revoked(BaseModel):
    """Its logins end too."""

    token: KnownToken


def token_sha256(token: str) -> str:
    """A token has 256 random bits, so no slow hash is needed."""
    return hashlib.sha256(token.encode()).hexdigest()


def add(catalog: Catalog, person: str, scope: Scope, days: int | None, made_by: str) -> NewToken:
    """Raise BadOption if the name is not one printable line."""
    if not person.strip() or not person.isprintable() or len(person) > 100:
        raise BadOption(f"{person!r}: give the person's name on one line of at most 100 characters.")
    token = PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
    catalog.add_access_token(person.strip(), scope, token_sha256(token), made_by, days)
    return NewToken(token=token, person=person.strip(), scope=scope, days=days)


def tokens(catalog: Catalog) -> TokenList:
    rows = catalog.access_tokens().to_dicts()
    return TokenList(
        tokens=[
            KnownToken(id=row["token_id"], holds=not row["expired"] and row["revoked_at"] is None, **row)
            for row in rows
        ]
    )


def revoke(catalog: Catalog, token_id: int, person: str) -> Revoked:
    """Raise NotFound."""
    if token_id not in {token.id for token in tokens(catalog).tokens}:
        raise NotFound(f"There is no token {token_id}. See: curator token list")
    catalog.revoke_access_token(token_id, person)
    return Revoked(token=next(token for token in tokens(catalog).tokens if token.id == token_id))


def text_of_new_token(result: NewToken) -> str:
    until = f", for {result.days} days" if result.days is not None else ""
    return (
        f"{result.token}\n"
        f"This token is for {result.person}, with the scope {result.scope}{until}. It isn't shown again.\n"
        "In a browser, log in with it. For commands on another machine, set CURATOR_URL to the service's address and\n"
        "CURATOR_TOKEN_FILE to a file of mode 0600 that holds the token."
    )


def text_of_tokens(result: TokenList) -> str:
    if not result.tokens:
        return "Nobody has a token. Make one with: curator token add PERSON"
    rows = [("id", "person", "scope", "made", "")]
    rows += [(str(one.id), one.person, one.scope, one.created_at[:10], _state(one)) for one in result.tokens]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def text_of_revoked(result: Revoked) -> str:
    token = result.token
    return f"Token {token.id} of {token.person} ({token.scope}) is revoked, and its logins have ended."


def _state(token: KnownToken) -> str:
    if token.revoked_at:
        return f"revoked {token.revoked_at[:10]}"
    if not token.holds:
        return f"expired {(token.expires_at or '')[:10]}"
    return f"until {token.expires_at[:10]}" if token.expires_at else ""
