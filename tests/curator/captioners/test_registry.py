"""Finding strategies, and reading their options."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path
from types import ModuleType

import pytest

from curator import captioners
from curator.captioners import BadCaptioner
from schemas.errors import BadOption, NotFound


def third_party(monkeypatch: pytest.MonkeyPatch, name: str, source: str) -> None:
    """A strategy `name` in a module of its own, announced by entry point."""
    module = ModuleType(f"third_party_{name}", source)
    exec(source, module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    point = importlib.metadata.EntryPoint(name, module.__name__, captioners.ENTRY_POINTS)
    monkeypatch.setattr(
        importlib.metadata,
        "entry_points",
        lambda group: [point] if group == captioners.ENTRY_POINTS else [],
    )


SHOUT = '''"""Shouts."""
from curator.captioners import StrategyOptions, captions
VERSION = 3
class Options(StrategyOptions): pass
def fields(options, available): return ["name"]
def caption(batch, options): return captions(batch["name"].str.to_uppercase())
'''


def test_a_third_partys_strategy_is_found_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    third_party(monkeypatch, "shout", SHOUT)
    assert "shout" in captioners.names()
    assert captioners.load("shout").version == 3


def test_two_strategies_of_one_name_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    third_party(monkeypatch, "fixed", SHOUT)
    with pytest.raises(BadCaptioner, match="'fixed'"):
        captioners.names()


def test_a_strategy_that_lacks_something_says_what(monkeypatch: pytest.MonkeyPatch) -> None:
    third_party(monkeypatch, "half", '"""Half."""\nVERSION = 1')
    with pytest.raises(BadCaptioner, match="lacks Options, fields, caption"):
        captioners.load("half")


def test_an_unknown_strategy_lists_those_there_are() -> None:
    with pytest.raises(NotFound, match=f"There are: {', '.join(captioners.names())}"):
        captioners.load("blop")


@pytest.mark.parametrize(
    ("strategy", "pairs", "message"),
    [
        ("fixed", ["txt=x"], "fixed has no option 'txt'. Options of fixed: text"),
        ("fixed", [], "fixed needs -o text="),
        ("fixed", ["text"], "write -o KEY=VALUE"),
        ("fixed", ["text=a", "text=b"], "given twice"),
        ("fixed", ["text="], "-o text:"),
        ("empty", ["text=a"], "empty takes no options"),
        ("tags", ["limit=many"], "-o limit:"),
        ("tags", ["limit=0"], "-o limit:"),
        ("tags", ["alias=a"], "'a' isn't TAG=VALUE"),
        ("tags", ["drop=@nowhere.txt"], "can't read nowhere.txt"),
        ("template", ["template=${a|foo}"], "there is no filter 'foo'; the filters are lower"),
    ],
)
def test_a_bad_option_is_named_and_the_options_are_listed(strategy: str, pairs: list[str], message: str) -> None:
    with pytest.raises(BadOption) as error:
        captioners.parse_options(captioners.load(strategy), pairs)
    assert message in str(error.value)
    assert error.value.exit_code == 2


def test_a_value_may_hold_equals_signs_and_only_lists_read_files(tmp_path: Path) -> None:
    drop = tmp_path / "drop.txt"
    drop.write_text("solo\nhighres, absurdres\n", encoding="utf-8")
    tags = captioners.parse_options(captioners.load("tags"), [f"drop=@{drop}"])
    assert tags.drop == ["solo", "highres", "absurdres"]
    fixed = captioners.parse_options(captioners.load("fixed"), ["text=@a=b"])
    assert fixed.text == "@a=b"


def test_a_mapping_reads_no_files() -> None:
    tags = captioners.parse_options(captioners.load("tags"), {"drop": "@/etc/passwd"})
    assert tags.drop == ["@/etc/passwd"]


def test_a_revision_is_shortened_only_where_it_is_a_digest() -> None:
    assert captioners.model_at("acme/seer", "0123456789abcdef" * 3) == "acme/seer at 0123456789ab"
    assert captioners.model_at("seer", "sha256:" + "ab" * 32) == "seer at sha256:abababababab"
    assert captioners.model_at("gpt", "api.openai.com") == "gpt at api.openai.com"
