"""The commands init, ingest, rejects and doctor as a person meets them: one story, and what goes wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner, Result

from curator.cli import main
from curator.datasets.rejected import REMEDIES
from curator.images.unusable import Reason
from tests.curator.images.pictures import encoded, picture, put


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CURATOR_CATALOG", raising=False)
    return tmp_path


def curator(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, list(words))
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    if code == 1 and "--json" in words and not result.stdout:
        assert set(json.loads(result.stderr)) == {"error"}
    return result


def answer(*words: str, code: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(curator(*words, "--json", code=code).stdout)
    return found


def test_from_an_empty_folder_to_a_healthy_catalog(folder: Path) -> None:
    assert curator("init").stdout.startswith("Made amatl.duckdb, an empty catalog.")
    assert "nothing to do" in curator("init").stdout
    assert answer("init")["created"] is False
    for number in range(3):
        put(folder / "pictures" / f"{number}.png", number)
    put(folder / "pictures" / "copies" / "2.png", 2)
    (folder / "pictures" / "cut.jpg").write_bytes(encoded(picture(5), "JPEG")[:-200])
    out = curator("ingest", "pictures", "--dataset", "zoo").stdout
    assert "5 files     4 new, 1 unusable" in out and "3 images    at 4 paths" in out
    assert "1 reject    truncated 1" in out and "Next: curator rejects zoo" in out
    out = curator("rejects", "zoo").stdout
    assert "zoo: truncated  1  (fetch them again" in out and "  cut.jpg  " in out
    assert answer("rejects", "--reason", "truncated")["lines"][0]["path"] == str(folder / "pictures" / "cut.jpg")
    strict = answer("ingest", "pictures", "--dataset", "zoo", "--strict", code=1)
    assert (strict["read"], strict["rejects"]) == (0, 1)
    report = answer("doctor")
    assert report["healthy"] and [finding["code"] for finding in report["findings"]] == ["rejects"]
    (folder / "pictures" / "cut.jpg").unlink()
    out = curator("ingest", "pictures", "--dataset", "zoo", "--strict").stdout
    assert "0 rejects" in out and "4 files     4 unchanged" in out
    assert curator("rejects").stdout == "No rejects.\n"
    assert curator("doctor").stdout.endswith("Healthy.\n")


def test_the_catalog_is_the_option_else_the_environment_else_amatl_duckdb(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    curator("init", "a.duckdb")
    curator("init", "--catalog", "b.duckdb")
    monkeypatch.setenv("CURATOR_CATALOG", "c.duckdb")
    curator("init")
    assert sorted(path.name for path in folder.iterdir()) == ["a.duckdb", "b.duckdb", "c.duckdb"]
    put(folder / "pictures" / "a.png")
    curator("ingest", "pictures", "--dataset", "zoo", "--catalog", "a.duckdb")
    assert answer("doctor", "--catalog", "a.duckdb")["datasets"] == [{"dataset": "zoo", "images": 1, "paths": 1}]
    assert answer("doctor")["datasets"] == []


def test_init_overwrites_nothing(folder: Path) -> None:
    (folder / "thesis.txt").write_text("years of work")
    assert "not a curator catalog" in curator("init", "thesis.txt", code=1).stderr
    assert (folder / "thesis.txt").read_text() == "years of work"
    assert "a folder, not a catalog" in curator("init", ".", code=1).stderr
    assert "no such folder" in curator("init", "nowhere/lab.duckdb", code=1).stderr


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("ingest", "pictures", "--dataset", "zoo", "--catalog", "none.duckdb"), 1, "curator init none.duckdb"),
        (("ingest", "nowhere", "--dataset", "zoo"), 1, "nowhere: there is no such folder"),
        (("ingest", "pictures"), 2, "--dataset"),
        (("ingest", "pictures", "--dataset", "Zoo"), 2, "a to z"),
        (("ingest", "pictures", "--dataset", "zoo", "--metadata", "none.csv"), 1, "no such metadata table"),
        (("ingest", "pictures", "--dataset", "zoo", "--metadata", "t.csv", "--join-on", "hex"), 1, "Columns: id, name"),
        (("ingest", "pictures", "--dataset", "zoo", "--join-on", "id"), 2, "--join-on needs --metadata"),
        (("ingest", "pictures", "--dataset", "zoo", "--max-pixels", "0"), 2, "--max-pixels"),
        (("ingest", "pictures", "--dataset", "zoo", "--threads", "0"), 2, "--threads"),
        (("rejects", "zoo"), 1, "There is no dataset zoo. There are none"),
        (("rejects", "--reason", "ugly"), 2, "One of: zero-byte"),
        (("doctor", "--catalog", "t.csv"), 1, "not a curator catalog"),
    ],
)
def test_a_mistake_is_one_line_and_an_exit_code(folder: Path, words: tuple[str, ...], code: int, says: str) -> None:
    curator("init")
    put(folder / "pictures" / "a.png")
    (folder / "t.csv").write_text("id,name\n1,a\n")
    result = curator(*words, code=code)
    assert says in result.stderr and result.stdout == ""
    assert says in json.loads(curator(*words, "--json", code=code).stderr)["error"]["message"]


def test_a_catalog_in_use_names_the_process(folder: Path) -> None:
    curator("init")
    program = "import sys, duckdb; held = duckdb.connect('amatl.duckdb'); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        assert str(holder.pid) in curator("doctor", code=1).stderr


def test_an_ingest_of_the_folder_the_catalog_lies_in_passes_it_over(folder: Path) -> None:
    curator("init")
    put(folder / "a.png")
    assert answer("ingest", ".", "--dataset", "zoo")["rejects"] == 0


def test_an_empty_folder_says_so(folder: Path) -> None:
    curator("init")
    (folder / "pictures").mkdir()
    assert "There is no image in" in curator("ingest", "pictures", "--dataset", "zoo").stdout


def test_long_lists_are_cut_and_say_so(folder: Path) -> None:
    curator("init")
    (folder / "pictures").mkdir()
    for number in range(25):
        (folder / "pictures" / f"{number}.png").touch()
    curator("ingest", "pictures", "--dataset", "zoo")
    assert "... and 5 more; all of them with --limit 0" in curator("rejects").stdout
    assert len(curator("rejects", "--limit", "0").stdout.splitlines()) == 26
    assert len(answer("rejects")["lines"]) == 25


def test_doctor_finds_what_is_wrong_and_how_to_mend_it(folder: Path) -> None:
    curator("init")
    for number in range(4):
        put(folder / "pictures" / f"{number}.png", number)
    put(folder / "pictures" / "3.jpg", 3, size=(45, 30))
    (folder / "t.csv").write_text("id,name\n" + "".join(f"{number},n{number}\n" for number in range(4)))
    curator("ingest", "pictures", "--dataset", "zoo", "--metadata", "t.csv", "--join-on", "id")
    curator("caption", "zoo", "--strategy", "fixed", "--set", "all", "-o", "text=one")
    curator("commit", "zoo/all", "-m", "first")
    curator("caption", "zoo", "--strategy", "fixed", "--set", "all", "-o", "text=two")
    put(folder / "pictures" / "new.png", 9)
    curator("ingest", "pictures", "--dataset", "zoo", "--metadata", "t.csv", "--join-on", "id")
    (folder / "pictures" / "0.png").unlink()
    os.utime(folder / "pictures" / "1.png", ns=(1, 1))
    with duckdb.connect(str(folder / "amatl.duckdb")) as connection:
        connection.execute("UPDATE captions SET text = 'forged' WHERE caption_id = 2")
        connection.execute("DELETE FROM ingests WHERE ingest_id = 2")  # as if the second never came to its end
    report = answer("doctor", code=1)
    found = {finding["code"]: finding for finding in report["findings"]}
    levels = [finding["level"] for finding in report["findings"]]
    assert levels == sorted(levels, reverse=True) and not report["healthy"]
    assert {code for code, finding in found.items() if finding["level"] == "problem"} == {
        "missing-files",
        "changed-files",
        "interrupted-ingest",
        "digest-mismatch",
    }
    assert {code for code, finding in found.items() if finding["level"] == "note"} == {
        "rejects",
        "without-caption",
        "uncommitted",
        "near-duplicates",
    }
    assert found["missing-files"]["examples"] == [str(folder / "pictures" / "0.png")]
    assert found["changed-files"]["examples"] == [str(folder / "pictures" / "1.png")]
    assert "zoo/all@1" in found["digest-mismatch"]["message"]
    assert found["without-caption"]["message"] == "zoo/all: 1 of 6 images without a caption."
    out = curator("doctor", code=1).stdout
    assert out.endswith("4 problems to mend.\n")
    mend = found["missing-files"]["mend"].split()
    assert mend[0] == "curator" and curator(*mend[1:])
    after = {finding["code"] for finding in answer("doctor", code=1)["findings"]}
    assert after.isdisjoint({"missing-files", "changed-files", "interrupted-ingest"})


def test_every_reason_has_a_remedy_and_no_other() -> None:
    assert set(REMEDIES) == {reason.value for reason in Reason}
