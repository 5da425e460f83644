"""Parse tokens into a tree by recursive descent. The grammar is in the folder's docstring."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from curator.where.tokens import BadExpression, Token, tokenise

DEEPEST = 40  # brackets and nots inside one another
COMPARISONS = frozenset(("=", "!=", "<", "<=", ">", ">="))
MATCHES = frozenset(("like", "ilike", "contains"))
LARGEST_INTEGER = 2**63 - 1


@dataclass(frozen=True)
class Column:
    """A column, and its position in the expression."""

    name: str
    start: int
    end: int


@dataclass(frozen=True)
class Value:
    """A literal, and its position in the expression."""

    value: str | int | float | bool
    start: int
    end: int


@dataclass(frozen=True)
class Comparison:
    """Column against a literal or another column; the operator is never `!=`, which is Not of `=`."""

    column: Column
    operator: str
    other: Value | Column


@dataclass(frozen=True)
class Membership:
    """Column in a list of literals."""

    column: Column
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Match:
    """Column like, ilike or contains a text."""

    column: Column
    operator: str
    pattern: Value


@dataclass(frozen=True)
class IsNull:
    """Column has no value."""

    column: Column


@dataclass(frozen=True)
class Truth:
    """A yes/no column standing alone."""

    column: Column


@dataclass(frozen=True)
class Not:
    """The opposite."""

    node: Node


@dataclass(frozen=True)
class AllOf:
    """Every one holds."""

    nodes: tuple[Node, ...]


@dataclass(frozen=True)
class AnyOf:
    """At least one holds."""

    nodes: tuple[Node, ...]


Node = Comparison | Membership | Match | IsNull | Truth | Not | AllOf | AnyOf


@dataclass(frozen=True)
class Where:
    """A parsed expression. `option` is what error messages call it."""

    text: str
    option: str
    tree: Node

    @property
    def columns(self) -> list[Column]:
        """Return the columns in the order of the text."""
        return sorted(columns_of(self.tree), key=lambda column: column.start)

    def wrong(self, place: Column | Value, problem: str) -> BadExpression:
        """Return the error that points at `place`."""
        return BadExpression(self.option, self.text, place.start, place.end, problem)


def columns_of(node: Node) -> Iterator[Column]:
    match node:
        case Not():
            yield from columns_of(node.node)
        case AllOf() | AnyOf():
            for part in node.nodes:
                yield from columns_of(part)
        case _:
            yield node.column
            if isinstance(node, Comparison) and isinstance(node.other, Column):
                yield node.other


def parse(text: str, option: str = "--where") -> Where:
    """Parse an expression. Raises BadExpression with a caret under the first error."""
    return Where(text, option, _Parser(text, option).whole())


class _Parser:
    def __init__(self, text: str, option: str) -> None:
        self.text, self.option = text, option
        self.tokens = tokenise(text, option)
        self.position = 0
        self.depth = 0

    @property
    def next(self) -> Token:
        return self.tokens[self.position]

    def at_end(self) -> bool:
        return self.next.kind == "end"

    def take(self, *values: str) -> Token | None:
        """Return the next token if it is one of these keywords or operators, else None."""
        token = self.next
        if token.kind not in ("keyword", "operator") or token.value not in values:
            return None
        self.position += 1
        return token

    def fail(self, problem: str, token: Token | None = None) -> NoReturn:
        place = token or self.next
        raise BadExpression(self.option, self.text, place.start, place.end, problem)

    def expect(self, value: str, why: str) -> None:
        if not self.take(value):
            self.fail(f"`{value}` expected {why}.")

    def whole(self) -> Node:
        if self.at_end():
            self.fail("the expression is empty; write for example width_px >= 512.")
        node = self.expression()
        if not self.at_end():
            self.fail("`and`, `or` or the end expected here.")
        return node

    def expression(self) -> Node:
        nodes = [self.conjunction()]
        while self.take("or"):
            nodes.append(self.conjunction())
        return nodes[0] if len(nodes) == 1 else AnyOf(tuple(nodes))

    def conjunction(self) -> Node:
        nodes = [self.negation()]
        while self.take("and"):
            nodes.append(self.negation())
        return nodes[0] if len(nodes) == 1 else AllOf(tuple(nodes))

    def negation(self) -> Node:
        opened = self.take("not", "(")
        if opened is None:
            return self.predicate()
        self.depth += 1
        if self.depth > DEEPEST:
            self.fail(f"more than {DEEPEST} brackets and nots inside one another. Simplify it.", opened)
        node: Node
        if opened.value == "not":
            node = Not(self.negation())
        else:
            node = self.expression()
            self.expect(")", "to close the bracket")
        self.depth -= 1
        return node

    def predicate(self) -> Node:
        column = self.column()
        if self.take("is"):
            opposite = self.take("not")
            self.expect("null", "after `is`")
            return Not(IsNull(column)) if opposite else IsNull(column)
        opposite = self.take("not")
        if self.take("in"):
            node: Node = Membership(column, self.values())
        elif operator := self.take(*MATCHES):
            node = Match(column, operator.value, self.pattern(operator.value))
        elif opposite:
            self.fail("`in`, `like`, `ilike` or `contains` expected after `not`.")
        elif operator := self.take(*COMPARISONS):
            other = self.column() if self.next.kind in ("name", "quoted-name") else self.value()
            if operator.value == "!=":
                return Not(Comparison(column, "=", other))
            return Comparison(column, operator.value, other)
        else:
            node = self.alone(column)
        return Not(node) if opposite else node

    def alone(self, column: Column) -> Truth:
        if not self.at_end() and self.next.value not in ("and", "or", ")"):
            self.fail(f"a comparison expected after `{column.name}`: = != < <= > >= in like ilike contains is.")
        return Truth(column)

    def column(self) -> Column:
        token = self.next
        if token.kind not in ("name", "quoted-name"):
            hint = " A column stands left of the operator." if token.kind in ("text", "number") else ""
            self.fail(f"a column expected here.{hint}")
        self.position += 1
        return Column(token.value, token.start, token.end)

    def values(self) -> tuple[Value, ...]:
        self.expect("(", "after `in`, as in: in ('fox', 'dog')")
        values = [self.value()]
        while self.take(","):
            values.append(self.value())
        self.expect(")", "to close the list")
        return tuple(values)

    def pattern(self, operator: str) -> Value:
        if self.next.kind != "text":
            self.fail(f"text in quotes expected after `{operator}`.")
        return self.value()

    def value(self) -> Value:
        token = self.next
        self.position += 1
        value: str | int | float | bool
        if token.kind == "text":
            value = token.value
        elif token.kind == "number":
            value = _number(token.value)
        elif token.kind == "keyword" and token.value in ("true", "false"):
            value = token.value == "true"
        elif token.kind == "keyword" and token.value == "null":
            self.fail("nothing equals null; write `is null` or `is not null`.", token)
        elif token.kind == "name":
            self.fail(f"text goes in quotes: '{token.value}'.", token)
        else:
            self.fail("text in quotes, a number, true or false expected here.", token)
        return Value(value, token.start, token.end)


def _number(text: str) -> int | float:
    """Return an int if it fits 64 bits, else a float."""
    if text.lstrip("+-").isdigit() and len(text) < 21 and abs(int(text)) <= LARGEST_INTEGER:
        return int(text)
    return float(text)
