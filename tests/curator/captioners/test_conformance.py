"""Every strategy there is keeps the contract of curator.captioners."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from curator import captioners
from curator.captioners import Captioner
from tests.curator.fill import sha

NAMES = captioners.names()
TABLES = [name for name in NAMES if captioners.load(name).caption]
MODELS = [name for name in NAMES if captioners.load(name).load_model]
VALUES = ["red fox", "Owl, barn owl", "", None, "a_b c", "é 日本", "o_o", "x" * 300]


def options_of(captioner: Captioner) -> Any:
    """Options by the first example of each required one."""
    fields = captioner.options.model_fields
    return captioner.options(
        **{name: (option.examples or [])[0] for name, option in fields.items() if option.is_required()}
    )


def batch_for(captioner: Captioner, options: Any, folder: Path) -> pl.DataFrame:
    """Images with a bit of everything in the fields that the strategy asks for."""
    count = len(VALUES)
    columns: dict[str, list[Any]] = {
        "image_sha256": [sha(number) for number in range(count)],
        "image_path": [str(folder / f"{number}.png") for number in range(count)],
    }
    for shift, name in enumerate(captioner.fields(options, [])):
        columns[name] = VALUES[shift:] + VALUES[:shift]
    batch = pl.DataFrame(columns)
    for number in (0, 2, 5):
        (folder / f"{number}.txt").write_text(VALUES[number] or "", encoding="utf-8")
    (folder / "1.txt").write_bytes(b"\xff\xfe\x00")
    return batch.hstack(captioner.read(batch, options).columns) if captioner.read else batch


@pytest.mark.parametrize("name", NAMES)
def test_a_strategy_describes_itself(name: str) -> None:
    captioner = captioners.load(name)
    assert captioner.summary.endswith(".")
    assert f"--strategy {name}" in captioner.help
    assert type(captioner.version) is int
    assert captioner.version >= 1
    for option, field in captioner.options.model_fields.items():
        assert field.description, f"option {option} has no description"
        assert not field.is_required() or field.examples, f"option {option} is required and has no example"
    assert captioner.locations | captioner.speed_options <= set(captioner.options.model_fields)
    assert bool(captioner.caption) != bool(captioner.load_model)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_strategy_names_its_model(name: str) -> None:
    """Its weights' revision is part of what decides whether an image is captioned again."""
    module = importlib.import_module(f"curator.captioners.{name}")
    assert callable(module.model)


@pytest.mark.parametrize("name", NAMES)
def test_unknown_options_are_refused(name: str) -> None:
    captioner = captioners.load(name)
    with pytest.raises(ValidationError, match="no_such_option"):
        captioner.options.model_validate({**options_of(captioner).model_dump(), "no_such_option": 1})


@pytest.mark.parametrize("name", NAMES)
def test_options_survive_json(name: str) -> None:
    captioner = captioners.load(name)
    options = options_of(captioner)
    assert captioner.options.model_validate(json.loads(options.model_dump_json())) == options


@pytest.mark.parametrize("name", TABLES)
def test_one_row_out_for_each_row_in_with_a_reason_where_there_is_no_caption(name: str, tmp_path: Path) -> None:
    captioner = captioners.load(name)
    options = options_of(captioner)
    batch = batch_for(captioner, options, tmp_path)
    before = batch.clone()
    assert captioner.caption
    made = captioner.caption(batch, options)
    assert made.schema == {"text": pl.String, "reason": pl.String, "failed": pl.Boolean}
    assert made.height == batch.height
    for text, reason, failed in made.iter_rows():
        assert (text is None) == bool(reason)
        assert text is None or not failed
    assert batch.equals(before)
    assert made.equals(captioner.caption(batch, options))


@pytest.mark.parametrize("name", TABLES)
def test_neighbours_and_order_make_no_difference(name: str, tmp_path: Path) -> None:
    captioner = captioners.load(name)
    options = options_of(captioner)
    batch = batch_for(captioner, options, tmp_path)
    assert captioner.caption
    whole = captioner.caption(batch, options)["text"].to_list()
    assert captioner.caption(batch.reverse(), options)["text"].to_list() == whole[::-1]
    assert [captioner.caption(batch[row], options)["text"][0] for row in range(batch.height)] == whole


@pytest.mark.parametrize("name", TABLES)
def test_no_images_give_no_captions(name: str, tmp_path: Path) -> None:
    captioner = captioners.load(name)
    options = options_of(captioner)
    batch = batch_for(captioner, options, tmp_path).clear()
    assert captioner.caption
    assert captioner.caption(batch, options).height == 0


def test_importing_the_strategies_loads_nothing_heavy() -> None:
    code = (
        "import sys; from curator import captioners; [captioners.load(name) for name in captioners.names()];"
        "print([m for m in ('torch', 'transformers', 'polars', 'duckdb', 'numpy', 'PIL') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
