"""Cut the text of an expression into tokens; errors that point into it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from schemas.errors import BadOption

LONGEST_EXPRESSION = 10_000
CONTEXT = 60  # characters of the expression shown on each side of an error

Kind = Literal["name", "quoted-name", "text", "number", "keyword", "operator", "end"]
KEYWORDS = frozenset(("and", "or", "not", "in", "like", "ilike", "contains", "is", "null", "true", "false"))
TOKEN = re.compile(
    r"""(?P<space>\s+)
      | (?P<text>'(?:[^']|'')*' | "(?:[^"]|"")*")
      | (?P<quoted>`[^`]+`)
      | (?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
      | (?P<name>[^\W\d][\w-]*(?:\.[\w-]+)*)
      | (?P<operator><=|>=|!=|<>|==|=|<|>|\(|\)|,)""",
    re.VERBOSE,
)


class BadExpression(BadOption):
    """The expression can't be read."""

    def __init__(self, option: str, text: str, start: int, end: int, problem: str) -> None:
        super().__init__(f"{option}: {problem}\n{pointer(text, start, end)}")
        self.start = start


def pointer(text: str, start: int, end: int) -> str:
    """Return the part of `text` around `start`, with carets under `start` to `end`."""
    first, last = max(0, start - CONTEXT), min(len(text), max(end, start) + CONTEXT)
    shown = "".join(character if character.isprintable() else " " for character in text[first:last])
    before = "..." if first else ""
    after = "..." if last < len(text) else ""
    carets = "^" * max(1, min(end, last) - start)
    return f"  {before}{shown}{after}\n  {' ' * (len(before) + start - first)}{carets}"


@dataclass(frozen=True)
class Token:
    """A token: kind, text without quotes, position."""

    kind: Kind
    value: str
    start: int
    end: int


def tokenise(text: str, option: str) -> list[Token]:
    """Cut `text` into tokens, the last one being the end. Raises BadExpression at a character that fits none."""
    if len(text) > LONGEST_EXPRESSION:
        raise BadExpression(
            option, text, LONGEST_EXPRESSION, 0, f"it is longer than {LONGEST_EXPRESSION} characters. Shorten it."
        )
    tokens: list[Token] = []
    position = 0
    while position < len(text):
        match = TOKEN.match(text, position)
        if match is None:
            raise BadExpression(option, text, position, position + 1, _why_not(text, position))
        if match.lastgroup != "space":
            tokens.append(_token(match))
        position = match.end()
    return [*tokens, Token("end", "", len(text), len(text))]


def _token(match: re.Match[str]) -> Token:
    found, start, end = match.group(), match.start(), match.end()
    match match.lastgroup:
        case "text":
            return Token("text", found[1:-1].replace(found[0] * 2, found[0]), start, end)
        case "quoted":
            return Token("quoted-name", found[1:-1], start, end)
        case "number":
            return Token("number", found, start, end)
        case "name" if found.lower() in KEYWORDS:
            return Token("keyword", found.lower(), start, end)
        case "name":
            return Token("name", found, start, end)
        case _:
            return Token("operator", {"==": "=", "<>": "!="}.get(found, found), start, end)


def _why_not(text: str, position: int) -> str:
    character = text[position]
    if character in "'\"`":
        return f"the quote {character} is never closed."
    if character in "‘’“”„«»":
        return "use straight quotes, ' or \"."
    if character.isdigit() or character in "+-.":
        return "that is no number; text and dates go in quotes."
    if character in "&|!;":
        return f"{character!r} means nothing here; write `and`, `or`, `not`, `!=`."
    return f"{character!r} means nothing here; text goes in quotes, odd column names in `backticks`."
