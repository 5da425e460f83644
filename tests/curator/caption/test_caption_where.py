"""`curator caption --where`: only the images it holds for are touched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from curator.caption import caption
from curator.cli import main
from curator.where import BadExpression
from tests.curator.lab import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path)
    for number, name in enumerate(("fox", "owl", "yak")):
        lab.add(f"{name}.png", number, {"annotation": name})
    lab.write()
    yield lab
    lab.close()


def texts(lab: Lab, set_name: str) -> list[str]:
    return sorted(lab.catalog.caption_texts("zoo", set_name)["text"])


def test_only_the_images_it_holds_for(lab: Lab) -> None:
    result = caption(lab.catalog, "zoo", "fixed", "a", ["text=bird"], where="annotation = 'owl'")
    assert (result.images, result.not_chosen, result.new) == (3, 2, 1)
    assert texts(lab, "a") == ["bird"]


def test_the_others_keep_their_captions(lab: Lab) -> None:
    caption(lab.catalog, "zoo", "fixed", "a", ["text=beast"])
    result = caption(lab.catalog, "zoo", "fixed", "a", ["text=bird"], where="annotation = 'owl'")
    assert (result.not_chosen, result.changed) == (2, 1)
    assert texts(lab, "a") == ["beast", "beast", "bird"]


def test_captions_of_now_are_columns(lab: Lab) -> None:
    caption(lab.catalog, "zoo", "template", "names", ["template=${annotation}"])
    caption(lab.catalog, "zoo", "fixed", "a", ["text=beast"], where="caption.names like '%x' or caption.names = 'yak'")
    result = caption(lab.catalog, "zoo", "fixed", "a", ["text=rest"], where="caption.a is null")
    assert (result.new, result.not_chosen) == (1, 2)
    with pytest.raises(BadExpression, match=r"caption\.nope.*caption\.a, caption\.names"):
        caption(lab.catalog, "zoo", "fixed", "a", ["text=x"], where="caption.nope is null")


def test_a_table_imported_in_part_rejects_nothing_for_it(lab: Lab, tmp_path: Path) -> None:
    table = tmp_path / "captions.csv"
    table.write_text("file_name,caption\nfox.png,a fox\nowl.png,an owl\n")
    options = [f"file={table}", "join_on=file_name", "column=caption"]
    result = caption(lab.catalog, "zoo", "column", "human", options, by="ana", where="annotation = 'fox'")
    assert (result.new, result.not_chosen, result.rejects) == (1, 2, [])


def test_the_command(lab: Lab, tmp_path: Path) -> None:
    lab.close()
    arguments = ["caption", "zoo", "--strategy", "empty", "--set", "e", "--catalog", str(tmp_path / "lab.duckdb")]
    made = CliRunner().invoke(main, [*arguments, "--where", "annotation in ('fox', 'owl')"])
    assert made.exit_code == 0, made.output
    assert "left out by --where" in made.stdout
    wrong = CliRunner().invoke(main, [*arguments, "--where", "anotation = 'fox'"])
    assert wrong.exit_code == 2
    assert "Did you mean `annotation`?" in wrong.stderr
