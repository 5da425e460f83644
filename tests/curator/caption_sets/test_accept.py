"""Accepting captions as they are, and taking it back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from curator.caption_sets.accept import accept, undo_accept
from curator.caption_sets.history import history
from curator.caption_sets.revise import revise
from curator.catalog import Catalog
from curator.cli import main
from schemas.errors import BadOption, NotFound
from tests.curator.caption_sets import test_replace
from tests.curator.caption_sets.test_replace import FOX, OWL, YAK, last_id, texts

catalog = test_replace.catalog


def whose(catalog: Catalog) -> dict[str, str]:
    rows = catalog.current_captions("zoo", "t").filter("by_person").select("image_sha256", "person").iter_rows()
    return {{FOX: "fox", OWL: "owl", YAK: "yak"}[image]: person for image, person in rows}


def test_captions_become_the_persons_without_a_change_of_text(catalog: Catalog) -> None:
    before = texts(catalog)
    revise(catalog, "zoo", "t", FOX, "a grey fox, grey", "ana")
    done = accept(catalog, "zoo/t", where="name != 'yak'", person="ana")
    assert (done.images, done.accepted, done.already, done.missing) == (2, 1, 1, 0)
    assert whose(catalog) == {"fox": "ana", "owl": "ana"} and texts(catalog) == before
    (mine,) = [one for one in history(catalog, OWL).revisions if one.current]
    assert (mine.strategy, mine.person, mine.by_person) == ("accept", "ana", True)


def test_again_is_nothing_new_and_a_dry_run_writes_nothing(catalog: Catalog) -> None:
    assert accept(catalog, "zoo/t", dry_run=True, person="ana").accepted == 3
    assert whose(catalog) == {}
    accept(catalog, "zoo/t", person="ana")
    again = accept(catalog, "zoo/t", person="ana")
    assert (again.accepted, again.already, again.run_id) == (0, 3, None)


def test_what_is_newer_than_was_seen_stays(catalog: Catalog) -> None:
    seen = max(last_id(catalog, image) for image in (FOX, OWL, YAK))
    revise(catalog, "zoo", "t", OWL, "an owl", "ben")
    done = accept(catalog, "zoo/t", images=[FOX, OWL], seen=seen, person="ana")
    assert (done.images, done.accepted, done.overtaken) == (2, 1, 1)
    assert whose(catalog) == {"fox": "ana", "owl": "ben"}


def test_undone_captions_are_the_strategys_again_but_for_those_changed_since(catalog: Catalog) -> None:
    done = accept(catalog, "zoo/t", person="ana")
    revise(catalog, "zoo", "t", YAK, "a yak", "ben")
    undone = undo_accept(catalog, "zoo/t", done.run_id, "ana")
    assert (undone.restored, undone.left) == (2, 1)
    assert whose(catalog) == {"yak": "ben"}
    with pytest.raises(NotFound, match="there is no accept to undo"):
        undo_accept(catalog, "zoo/t", None)
    with pytest.raises(NotFound, match="has no accept 99"):
        undo_accept(catalog, "zoo/t", 99)


def test_a_version_is_never_accepted(catalog: Catalog) -> None:
    from curator.caption_sets.versions import commit

    commit(catalog, "zoo/t", "first")
    with pytest.raises(BadOption, match="a version never changes"):
        accept(catalog, "zoo/t@1")


def test_the_command(catalog: Catalog) -> None:
    path = str(Path(catalog.path))
    catalog.close()
    told = CliRunner().invoke(main, ["accept", "t", "--where", "name = 'fox'", "--as", "ana", "--catalog", path])
    assert told.exit_code == 0 and "1 caption became yours" in told.output and "--undo" in told.output
    undone = CliRunner().invoke(main, ["accept", "t", "--undo", "--catalog", path, "--json"])
    assert json.loads(undone.output)["restored"] == 1
    assert CliRunner().invoke(main, ["accept", "t", "--undo", "x", "--catalog", path]).exit_code == 2
