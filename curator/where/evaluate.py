"""A parsed expression over a table of images, as one Polars expression."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import polars as pl

from curator.where.parse import (
    LARGEST_INTEGER,
    AllOf,
    AnyOf,
    Column,
    Comparison,
    IsNull,
    Match,
    Membership,
    Node,
    Not,
    Truth,
    Value,
    Where,
)
from schemas.errors import BadOption

METADATA = "metadata"
COLUMNS_LISTED = 60
Kind = Literal["text", "number", "yes/no", "list"]
REGEX_SPECIAL = frozenset(r"\.+*?()|[]{}^$#&-~")


def matches(where: Where, images: pl.DataFrame) -> pl.Series:
    """Return a bool per row of `images`: whether the expression holds.

    Columns are those of the table and the fields of its `metadata` column (a JSON object per row), named
    `metadata.<field>` if the table has a column of that name. Raises BadExpression for an unknown column or a
    comparison of wrong types.
    """
    table = _columns_read(images, where)
    expression = _Builder(where, _kinds(table)).build(where.tree)
    try:
        return table.select(expression.alias("matches")).to_series()
    except pl.exceptions.PolarsError as error:
        raise BadOption(f"{where.option}: it can't be evaluated ({error}). Simplify it.") from error


def _columns_read(images: pl.DataFrame, where: Where) -> pl.DataFrame:
    """Return the columns that `where` reads, with metadata fields unpacked and typed."""
    own = [name for name in images.columns if name != METADATA]
    wanted = {column.name: column for column in where.columns}
    fields: dict[str, list[Any]] = {}
    if METADATA in images.columns and not set(wanted) <= set(own):
        fields = _fields(images[METADATA])
    series = []
    for name, column in wanted.items():
        if name in own:
            series.append(images[name])
        elif (field := name if name in fields else name.removeprefix(f"{METADATA}.")) in fields:
            series.append(typed(fields[field]).alias(name))
        else:
            listed = [f"{METADATA}.{field}" if field in own else field for field in fields]
            raise where.wrong(column, _no_column(name, [*own, *listed]))
    return pl.DataFrame(series)


def _no_column(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name.casefold(), [other.casefold() for other in known], n=1)
    guess = next((other for other in known if near and other.casefold() == near[0]), None)
    more = f" and {len(known) - COLUMNS_LISTED} more" if len(known) > COLUMNS_LISTED else ""
    advice = f" Did you mean `{guess}`?" if guess else " If it is text, put it in quotes."
    return f"there is no column `{name}`.{advice} Columns: {', '.join(known[:COLUMNS_LISTED])}{more}."


def _fields(metadata: pl.Series) -> dict[str, list[Any]]:
    """Turn a JSON object per row into a list of values per field."""
    fields: dict[str, list[Any]] = {}
    for row, text in enumerate(metadata):
        for field, value in (json.loads(text) if text else {}).items():
            fields.setdefault(field, [None] * len(metadata))[row] = value
    return fields


def typed(values: list[Any]) -> pl.Series:
    """Return values as a column: numbers, bools or lists if all of them are, else text."""
    values = [None if isinstance(value, float) and not math.isfinite(value) else value for value in values]
    kinds = {_kind_of_value(value) for value in values if value is not None}
    if kinds == {"yes/no"}:
        return pl.Series(values, dtype=pl.Boolean)
    if kinds == {"number"}:
        whole = all(value is None or (type(value) is int and abs(value) <= LARGEST_INTEGER) for value in values)
        return pl.Series([value if value is None or whole else float(value) for value in values])
    if kinds == {"list"}:
        entries = [None if value is None else [_text(entry) for entry in value] for value in values]
        return pl.Series(entries, dtype=pl.List(pl.String))
    return pl.Series([None if value is None else _text(value) for value in values], dtype=pl.String)


def _kind_of_value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes/no"
    if isinstance(value, int | float):
        return "number"
    return "list" if isinstance(value, list) else "text"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _kinds(table: pl.DataFrame) -> dict[str, Kind]:
    def kind(dtype: pl.DataType) -> Kind:
        if dtype.is_numeric():
            return "number"
        if dtype == pl.Boolean:
            return "yes/no"
        return "list" if isinstance(dtype, pl.List) else "text"

    return {name: kind(dtype) for name, dtype in table.schema.items()}


class _Builder:
    """Turns a tree into a Polars expression; nulls are filled in every predicate, so that logic has two values."""

    def __init__(self, where: Where, kinds: dict[str, Kind]) -> None:
        self.where, self.kinds = where, kinds

    def build(self, node: Node) -> pl.Expr:
        match node:
            case Not():
                return ~self.build(node.node)
            case AllOf():
                return pl.all_horizontal([self.build(part) for part in node.nodes])
            case AnyOf():
                return pl.any_horizontal([self.build(part) for part in node.nodes])
            case IsNull():
                return pl.col(node.column.name).is_null()
            case Truth():
                self.need(node.column, "yes/no", f"`{node.column.name}` needs a comparison: it is {{kind}}.")
                return pl.col(node.column.name).fill_null(False)
            case Comparison():
                return self.comparison(node).fill_null(False)
            case Membership():
                return self.membership(node).fill_null(False)
            case Match():
                return self.match(node).fill_null(False)

    def need(self, column: Column, kind: Kind, problem: str) -> None:
        if (found := self.kinds[column.name]) != kind:
            raise self.where.wrong(column, problem.format(kind=f"a {found}" if found != "text" else "text"))

    def comparison(self, node: Comparison) -> pl.Expr:
        if isinstance(node.other, Column):
            left, right = self.two_columns(node, node.other)
        else:
            left, right = self.side(node.column, node.other), pl.lit(node.other.value)
        if node.operator != "=" and self.kinds[node.column.name] == "yes/no":
            raise self.where.wrong(node.column, f"`{node.column.name}` is yes or no: only = and != make sense.")
        compare: dict[str, Callable[[Any, Any], pl.Expr]] = {
            "=": lambda a, b: a == b,
            "<": lambda a, b: a < b,
            "<=": lambda a, b: a <= b,
            ">": lambda a, b: a > b,
            ">=": lambda a, b: a >= b,
        }
        return compare[node.operator](left, right)

    def two_columns(self, node: Comparison, other: Column) -> tuple[pl.Expr, pl.Expr]:
        kinds = {self.kinds[node.column.name], self.kinds[other.name]}
        if "list" in kinds or len(kinds) > 1:
            raise self.where.wrong(
                other, f"`{node.column.name}` and `{other.name}` can't be compared: {' and '.join(sorted(kinds))}."
            )
        return pl.col(node.column.name), pl.col(other.name)

    def side(self, column: Column, value: Value) -> pl.Expr:
        """Make the column comparable with the literal: text is read as a number if it is compared with one."""
        kind, given = self.kinds[column.name], _kind_of_value(value.value)
        if kind == "list":
            raise self.where.wrong(column, f"`{column.name}` is a list: use `contains`.")
        if kind == given:
            return pl.col(column.name)
        if kind == "text" and given == "number":
            return pl.col(column.name).cast(pl.Float64, strict=False)
        what = {"number": "a number: no quotes", "yes/no": "yes or no: write true or false", "text": "text: quote it"}
        raise self.where.wrong(value, f"`{column.name}` is {what[kind]}.")

    def membership(self, node: Membership) -> pl.Expr:
        """Compare text at once, numbers one by one, since they may be int or float."""
        texts = [value for value in node.values if isinstance(value.value, str)]
        parts = [
            (self.side(node.column, value) == value.value).fill_null(False)
            for value in node.values
            if not isinstance(value.value, str)
        ]
        if texts:
            column = self.side(node.column, texts[0])
            parts.append(column.is_in([value.value for value in texts]).fill_null(False))
        return pl.any_horizontal(parts)

    def match(self, node: Match) -> pl.Expr:
        name, pattern = node.column.name, str(node.pattern.value)
        if node.operator == "contains" and self.kinds[name] == "list":
            return pl.col(name).list.contains(pattern)
        self.need(node.column, "text", f"`{node.operator}` needs text, and `{name}` is {{kind}}.")
        if node.operator == "contains":
            return pl.col(name).str.contains(pattern, literal=True)
        flags = "(?is)" if node.operator == "ilike" else "(?s)"
        return pl.col(name).str.contains(f"{flags}^{_regex(pattern)}$")


def _regex(pattern: str) -> str:
    """Translate a `like` pattern into a regular expression."""
    parts, characters = [], iter(pattern)
    for character in characters:
        if character == "\\":
            character = next(characters, "\\")
        elif character in "%_":
            parts.append(".*" if character == "%" else ".")
            continue
        parts.append(f"\\{character}" if character in REGEX_SPECIAL else character)
    return "".join(parts)
