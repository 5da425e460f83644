"""Captions are stored on one line, without blanks around them."""

from __future__ import annotations

import re

import polars as pl

LINE_ENDS = re.compile(r"\s*[\r\n\x85\u2028\u2029]+\s*")


def on_one_line(text: str) -> str:
    return LINE_ENDS.sub(" ", text.strip())


def text_on_one_line() -> pl.Expr:
    """Return the same as an expression over the column `text`."""
    return pl.col("text").str.strip_chars().str.replace_all(r"\s*[\r\n\x{85}\x{2028}\x{2029}]+\s*", " ")
