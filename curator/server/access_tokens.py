"""The stage `token`: who may use the service from another machine. A token is shown once and kept as a hash.

Scopes: `read` looks; `annotate` also writes captions and answers; `write` also ingests, commits, and starts jobs.
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
# Found by programs that look for secrets where none should be.
PREFIX = "amatl_"
TOKEN_BYTES = 32


class NewToken(BaseModel):
    """A token, this once."""

    token: str
    person: str
    scope: Scope
    days: int | None = Field(description="Until it expires; null: never.")


class KnownToken(BaseModel):
    """What is kept of a token."""

    id: int
    person: str
    scope: Scope
    made_by: str
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    holds: bool = Field(description="Neither revoked nor expired.")


class TokenList(BaseModel):
    """Every token there ever was."""

    tokens: list[KnownToken]


class Revoked(BaseModel):
    """The token that no longer holds, with every login made with it."""

    token: KnownToken


def token_sha256(token: str) -> str:
    """What is kept of a token. It is 256 random bits: no slow hash is needed against guessing."""
    return hashlib.sha256(token.encode()).hexdigest()


def add(catalog: Catalog, person: str, scope: Scope, days: int | None, made_by: str) -> NewToken:
    """Makes a token. Raises BadOption for a name that isn't one line."""
    if not person.strip() or not person.isprintable() or len(person) > 100:
        raise BadOption(f"{person!r}: give the person's name, in one line of at most 100 characters.")
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
    """Ends a token for good. Raises NotFound."""
    if token_id not in {token.id for token in tokens(catalog).tokens}:
        raise NotFound(f"Token {token_id}: there is none. See: curator token list")
    catalog.revoke_access_token(token_id, person)
    return Revoked(token=next(token for token in tokens(catalog).tokens if token.id == token_id))


def account_new(result: NewToken) -> str:
    """The token for a person, alone in its line."""
    until = f", for {result.days} days" if result.days is not None else ""
    return (
        f"{result.token}\n"
        f"It is {result.person}'s, with the scope {result.scope}{until}, and isn't shown again.\n"
        "In a browser, log in with it. For commands on another machine: CURATOR_URL is the service's address,\n"
        "CURATOR_TOKEN_FILE a file of mode 0600 that holds the token."
    )


def account_list(result: TokenList) -> str:
    if not result.tokens:
        return "Nobody has a token. Make one with: curator token add PERSON"
    rows = [("id", "person", "scope", "made", "")]
    rows += [(str(one.id), one.person, one.scope, one.created_at[:10], _standing(one)) for one in result.tokens]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def account_revoked(result: Revoked) -> str:
    """The revocation for a person."""
    return f"{result.token.person}'s token {result.token.id} ({result.token.scope}) no longer holds, nor do its logins."


def _standing(token: KnownToken) -> str:
    if token.revoked_at:
        return f"revoked {token.revoked_at[:10]}"
    if not token.holds:
        return f"expired {(token.expires_at or '')[:10]}"
    return f"until {token.expires_at[:10]}" if token.expires_at else ""
