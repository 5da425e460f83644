"""The catalog file: making, opening, locking, migrating; and what DuckDB isn't allowed to do."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import polars as pl
import pytest

from curator.catalog import Catalog, CatalogLocked, NotACatalog, schema
from curator.catalog.errors import CatalogFailed
from curator.catalog.migrate import NewerCatalog, migrations
from curator.catalog.queries import Query
from schemas.errors import AlreadyExists, AmatlError, NotFound


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.create(tmp_path / "lab.duckdb") as made:
        yield made


def test_all_migrations_give_the_golden_schema() -> None:
    assert schema.current() == schema.FILE.read_text(encoding="utf-8")


def test_the_golden_schema_makes_itself() -> None:
    with duckdb.connect() as connection:
        connection.execute(schema.FILE.read_text(encoding="utf-8"))
        assert schema.describe(connection) == schema.FILE.read_text(encoding="utf-8")


def test_create_leaves_one_file_and_opens_again(tmp_path: Path) -> None:
    Catalog.create(tmp_path / "lab.duckdb").close()
    assert [file.name for file in tmp_path.iterdir()] == ["lab.duckdb"]
    with Catalog(tmp_path / "lab.duckdb") as catalog:
        assert catalog.dataset_names() == []


def test_create_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "lab.duckdb").write_text("mine")
    with pytest.raises(AlreadyExists, match=r"lab\.duckdb"):
        Catalog.create(tmp_path / "lab.duckdb")
    assert (tmp_path / "lab.duckdb").read_text() == "mine"


def test_create_names_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(AmatlError, match="no such folder"):
        Catalog.create(tmp_path / "nowhere" / "lab.duckdb")


def test_a_missing_catalog_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="curator init"):
        Catalog(tmp_path / "lab.duckdb")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"a text, not a database\n" * 500])
def test_another_file_is_not_a_catalog(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "lab.duckdb").write_bytes(content)
    with pytest.raises(NotACatalog, match=r"lab\.duckdb"):
        Catalog(tmp_path / "lab.duckdb")
    assert (tmp_path / "lab.duckdb").read_bytes() == content


def test_another_database_is_not_a_catalog(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "other.duckdb")) as other:
        other.execute("CREATE TABLE sales (a INTEGER)")
    with pytest.raises(NotACatalog, match="DuckDB file"):
        Catalog(tmp_path / "other.duckdb")


def test_a_held_catalog_names_the_process(tmp_path: Path) -> None:
    path = tmp_path / "lab.duckdb"
    Catalog.create(path).close()
    program = f"import sys, duckdb; held = duckdb.connect({str(path)!r}); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(CatalogLocked, match=str(holder.pid)):
            Catalog(path)


def test_a_newer_catalog_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lab.duckdb"
    Catalog.create(path).close()
    with duckdb.connect(str(path)) as connection:
        connection.execute("INSERT INTO migrations VALUES (?, 'later', now())", [len(migrations()) + 1])
    with pytest.raises(NewerCatalog, match="Update curator"):
        Catalog(path)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM read_csv('http://localhost/x')",
    ],
)
def test_no_query_reaches_outside(catalog: Catalog, monkeypatch: pytest.MonkeyPatch, sql: str) -> None:
    monkeypatch.setitem(catalog._queries, "outside", Query("outside", "images", "", sql, frozenset()))
    with pytest.raises(duckdb.Error):
        catalog._read("outside")
    for setting in ("SET enable_external_access = true", "SET lock_configuration = false"):
        monkeypatch.setitem(catalog._queries, "outside", Query("outside", "images", "", setting, frozenset()))
        with pytest.raises(duckdb.Error):
            catalog._write("outside")


def test_a_write_is_all_or_nothing(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    sql = "INSERT INTO datasets SELECT name, now() FROM rows; INSERT INTO datasets VALUES ($again, now());"
    monkeypatch.setitem(catalog._queries, "twice", Query("twice", "images", "", sql, frozenset({"again"})))
    with pytest.raises(duckdb.ConstraintException):
        catalog._write("twice", pl.DataFrame({"name": ["fox", "owl"]}), again="owl")
    assert catalog.dataset_names() == []
    catalog._write("twice", pl.DataFrame({"name": ["fox", "owl"]}), again="yak")
    assert catalog.dataset_names() == ["fox", "owl", "yak"]


def test_a_disk_that_fails_is_one_line_for_a_person(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise duckdb.TransactionException("Failed to commit: Cannot open file lab.duckdb.wal: Permission denied\nStack")

    monkeypatch.setattr(catalog, "_transaction", refuse)
    with pytest.raises(CatalogFailed, match=r"lab\.duckdb: .*Permission denied\. Look at the disk"):
        catalog.finish_ingest("zoo", "/zoo", 1, "ana", {}, {}, pl.DataFrame())


def test_create_names_a_folder_it_may_not_write_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(AmatlError, match="no right to write"):
        Catalog.create(tmp_path / "lab.duckdb")
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_parameter_is_a_programming_error(catalog: Catalog) -> None:
    with pytest.raises(TypeError, match="images_of_dataset"):
        catalog._read("images_of_dataset", data="fox")


def test_ctrl_c_waits_until_a_transaction_is_done() -> None:
    from curator.catalog.connection import undisturbed

    done = False
    with pytest.raises(KeyboardInterrupt), undisturbed():
        signal.raise_signal(signal.SIGINT)
        done = True
    assert done
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_a_ctrl_c_that_duckdb_hears_of_first_is_a_ctrl_c(tmp_path: Path) -> None:
    from curator.catalog.connection import disk_errors

    with pytest.raises(KeyboardInterrupt), disk_errors(tmp_path):
        raise RuntimeError("Query interrupted")
    with pytest.raises(RuntimeError, match="else"), disk_errors(tmp_path):
        raise RuntimeError("something else")
