"""The named queries: every one has its method, the parser refuses stray text."""

import inspect

import pytest

from curator.catalog.access import Access
from curator.catalog.annotations import Annotations
from curator.catalog.captions import Captions
from curator.catalog.checks import Checks
from curator.catalog.connection import Connection
from curator.catalog.gallery import Gallery
from curator.catalog.images import Images
from curator.catalog.lineage import Lineage
from curator.catalog.preferences import Preferences
from curator.catalog.queries import load_queries, parse
from curator.catalog.splits import Splits
from curator.catalog.versions import Versions

NOUNS = {
    "images": Images,
    "captions": Captions,
    "versions": Versions,
    "splits": Splits,
    "annotations": Annotations,
    "preferences": Preferences,
    "checks": Checks,
    "gallery": Gallery,
    "lineage": Lineage,
    "access": Access,
}


@pytest.mark.parametrize("noun", NOUNS)
def test_each_query_has_one_method_and_each_method_one_query(noun: str) -> None:
    methods = {name for name, _ in inspect.getmembers(NOUNS[noun], inspect.isfunction) if not name.startswith("_")}
    own = methods - {name for name, _ in inspect.getmembers(Connection, inspect.isfunction)}
    assert own == {query.name for query in load_queries().values() if query.noun == noun}


def test_every_query_file_belongs_to_a_noun() -> None:
    assert {query.noun for query in load_queries().values()} <= set(NOUNS)


def test_parses_name_summary_parameters_and_sql() -> None:
    first = "-- name: one\n-- The first.\nSELECT $a, '$quoted' -- $comment\nWHERE x = $b_2;\n\n"
    one, two = parse(f"--! About.\n\n{first}-- name: two\n-- Next.\nSELECT 1;\n", "images")
    assert (one.name, one.summary, one.parameters) == ("one", "The first.", frozenset({"a", "b_2"}))
    assert one.sql.startswith("SELECT $a") and one.sql.endswith("$b_2;")
    assert (two.name, two.sql) == ("two", "SELECT 1;")


@pytest.mark.parametrize(
    "text", ["SELECT 1;", "-- name: nameless summary\nSELECT 1;", "-- name: empty\n-- Does nothing.\n\n"]
)
def test_refuses_sql_outside_a_block_and_blocks_without_summary_or_sql(text: str) -> None:
    with pytest.raises(ValueError, match=r"images\.sql"):
        parse(text, "images")
