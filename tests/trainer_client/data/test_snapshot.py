"""Reading a snapshot: every damage is found before training and named; pictures as training sees them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas.digest import sha256_file
from schemas.errors import AmatlError, BadDocument, BadOption, ChecksumMismatch, NotFound
from schemas.snapshot import manifest_digest
from tests.trainer_client.conftest import write_snapshot
from trainer_client.data.images import BadImage
from trainer_client.data.parallel import in_threads
from trainer_client.data.snapshot import BadSnapshot, Snapshot


@pytest.fixture
def copy(snapshot: Path, tmp_path: Path) -> Path:
    """A snapshot to damage."""
    return Path(shutil.copytree(snapshot, tmp_path / "snapshot"))


def test_rows_carry_every_track(snapshot: Path) -> None:
    opened = Snapshot.open(snapshot)
    assert opened.tracks == ["template", "human"]
    assert [len(opened.rows(split)) for split in ("train", "validation")] == [12, 4]
    for row in opened.rows("train"):
        assert row.path.is_file() and row.path.name.startswith(row.sha256[:16])
        assert row.captions["template"].startswith("drawing of a ")  # type: ignore[union-attr]
        assert row.captions["human"].endswith("by the river, train")  # type: ignore[union-attr]
    assert [row.sha256 for row in opened.rows("train")] == sorted(row.sha256 for row in opened.rows("train"))


def test_progress_counts_every_image(snapshot: Path) -> None:
    calls: list[tuple[str, int, int | None]] = []
    Snapshot.open(snapshot, progress=lambda stage, done, total, detail="": calls.append((stage, done, total)))
    assert calls == [("verifying checksums", n, 16) for n in range(1, 17)]


@pytest.mark.parametrize("pattern", ["train/*.png", "validation/*.png", "*/metadata.jsonl", "samples.parquet"])
def test_a_flipped_byte_names_its_file(copy: Path, pattern: str) -> None:
    path = sorted(copy.glob(pattern))[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ChecksumMismatch) as caught:
        Snapshot.open(copy)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "change", [("CC0", "CC1"), ('"created_by": "', '"created_by": "x'), ('"unknown_field": 1', '"unknown_field": 2')]
)
def test_a_sealed_manifest_names_itself(copy: Path, change: tuple[str, str]) -> None:
    path = copy / "manifest.json"
    manifest = json.loads(path.read_bytes()) | {"licenses": {"CC0": 16}, "unknown_field": 1}
    path.write_text(json.dumps(manifest | {"manifest_digest": manifest_digest(manifest)}))
    Snapshot.open(copy)
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(ChecksumMismatch, match=r"manifest\.json"):
        Snapshot.open(copy)


def test_without_verifying_images_are_not_read(copy: Path) -> None:
    picture = sorted(copy.glob("train/*.png"))[0]
    picture.write_bytes(b"other")
    assert len(Snapshot.open(copy, verify=False).rows("train")) == 12


def _missing_image(folder: Path) -> str:
    path = sorted(folder.glob("train/*.png"))[0]
    path.unlink()
    return path.name


def _longer_image(folder: Path) -> str:
    path = sorted(folder.glob("train/*.png"))[0]
    path.write_bytes(path.read_bytes() + b"!")
    return path.name


def _no_manifest(folder: Path) -> str:
    (folder / "manifest.json").unlink()
    return "manifest.json"


def _half_a_manifest(folder: Path) -> str:
    path = folder / "manifest.json"
    path.write_bytes(path.read_bytes()[:200])
    return "manifest.json"


def _other_caption(folder: Path) -> str:
    """Somebody edits a caption and mends the checksum: the identity tells."""
    _rewrite(folder, lambda rows: rows[0].update(text="another caption"))
    return "manifest.json"


def _caption_that_is_a_number(folder: Path) -> str:
    _rewrite(folder, lambda rows: rows[0].update(text_human=3))
    return "metadata.jsonl, line 1"


def _row_too_few(folder: Path) -> str:
    _rewrite(folder, lambda rows: rows.pop())
    return "metadata.jsonl"


def _row_without_checksum(folder: Path) -> str:
    _rewrite(folder, lambda rows: rows[2].pop("sha256"))
    return "metadata.jsonl, line 3"


def _path_leading_out(folder: Path) -> str:
    _rewrite(folder, lambda rows: rows[0].update(file_name="../../secret.png"))
    return "metadata.jsonl, line 1: file_name"


def _image_twice(folder: Path) -> str:
    _rewrite(folder, lambda rows: rows.__setitem__(1, dict(rows[0])))
    return str(folder)


def _rewrite(folder: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    """Changes train/metadata.jsonl and makes the manifest agree with its bytes."""
    path = folder / "train" / "metadata.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    change(rows)
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    manifest = json.loads((folder / "manifest.json").read_text())
    reference = manifest["splits"]["train"]["metadata"]
    reference.update(sha256=sha256_file(path), size_bytes=path.stat().st_size)
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (_missing_image, NotFound),
        (_longer_image, ChecksumMismatch),
        (_no_manifest, NotFound),
        (_half_a_manifest, BadDocument),
        (_other_caption, ChecksumMismatch),
        (_caption_that_is_a_number, BadDocument),
        (_row_too_few, BadSnapshot),
        (_row_without_checksum, BadDocument),
        (_path_leading_out, BadDocument),
        (_image_twice, BadSnapshot),
    ],
)
def test_damage_is_named(copy: Path, damage: Callable[[Path], str], error: type[AmatlError]) -> None:
    name = damage(copy)
    with pytest.raises(error) as caught:
        Snapshot.open(copy)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_captions_with_line_separators_stay_in_their_row(tmp_path: Path) -> None:
    strange = "one\u2028two\x85three\x1cfour\nfive"
    folder = write_snapshot(tmp_path / "snapshot", 2, 1, lambda split, number: {"some": strange}, ("some",))
    path = folder / "train" / "metadata.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n", encoding="utf-8")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["splits"]["train"]["metadata"].update(sha256=sha256_file(path), size_bytes=path.stat().st_size)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert [row.captions["some"] for row in Snapshot.open(folder).rows("train")] == [strange] * 2


def test_a_snapshot_of_held_out_images_alone(tmp_path: Path) -> None:
    write_snapshot(tmp_path / "snapshot", train=0, validation=2)
    with pytest.raises(BadSnapshot, match="no image to train on"):
        Snapshot.open(tmp_path / "snapshot")


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="curator snapshot"):
        Snapshot.open(tmp_path / "nowhere")


def test_track_names(snapshot: Path) -> None:
    opened = Snapshot.open(snapshot, verify=False)
    assert opened.track("human") == "human"
    with pytest.raises(BadOption, match="template, human"):
        opened.track("blip")
    with pytest.raises(BadOption, match="--captions: template, human"):
        opened.track(None)


def test_in_threads_keeps_the_order_and_stops_at_an_error() -> None:
    assert list(in_threads(lambda n: n * n, range(500), "squaring")) == [n * n for n in range(500)]

    started = []

    def fail_at_three(number: int) -> int:
        started.append(number)
        if number == 3:
            raise BadImage("three")
        return number

    with pytest.raises(BadImage, match="three"):
        list(in_threads(fail_at_three, range(5000), "failing"))
    assert len(started) < 5000
