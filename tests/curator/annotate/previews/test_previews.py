"""Previews and their server: only what is signed, whole files, nothing of our disk in any answer."""

from __future__ import annotations

import hashlib
import stat
import struct
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient

from curator.annotate.previews import make as images
from curator.annotate.previews.serve import app, key_id
from curator.secret_files import load_key
from schemas.errors import AmatlError, ChecksumMismatch
from tests.curator.annotate.previews.signed_url import signed_url

SOON = datetime.now(UTC) + timedelta(days=90)


def put(path: Path, picture: Image.Image, **options: object) -> str:
    picture.save(path, **options)  # type: ignore[arg-type]
    return hashlib.sha256(path.read_bytes()).hexdigest()


def halves(width: int = 40, height: int = 20) -> Image.Image:
    """Left red, right blue."""
    picture = Image.new("RGB", (width, height), "red")
    picture.paste("blue", (width // 2, 0, width, height))
    return picture


def is_colour(pixel: object, colour: tuple[int, int, int]) -> bool:
    assert isinstance(pixel, tuple)
    return all(abs(a - b) < 30 for a, b in zip(pixel, colour, strict=True))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return images.preview_folder(tmp_path / "lab.duckdb")


def client(folder: Path) -> TestClient:
    return TestClient(app(folder), base_url="http://127.0.0.1")


def path_of(url: str) -> str:
    return url.removeprefix("http://127.0.0.1")


def served(folder: Path, tmp_path: Path) -> tuple[str, str]:
    """A preview made, and its URL."""
    sha256 = put(tmp_path / "fox.png", halves())
    images.make_preview(tmp_path / "fox.png", sha256, folder)
    return sha256, signed_url("http://127.0.0.1/", sha256, SOON, load_key(folder))


def test_preview_is_small_and_stands_where_the_contract_says(folder: Path, tmp_path: Path) -> None:
    sha256 = put(tmp_path / "big.png", halves(4000, 1000))
    preview = images.make_preview(tmp_path / "big.png", sha256, folder)
    assert preview == folder / sha256[:2] / f"{sha256}.jpg"
    with Image.open(preview) as made:
        assert (made.format, made.size, made.mode) == ("JPEG", (1600, 400), "RGB")


def test_preview_of_a_small_picture_keeps_its_size(folder: Path, tmp_path: Path) -> None:
    sha256 = put(tmp_path / "small.png", halves())
    with Image.open(images.make_preview(tmp_path / "small.png", sha256, folder)) as made:
        assert made.size == (40, 20)


def test_preview_is_upright_and_without_exif(folder: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    exif[0x010E] = "/home/ann/pictures"
    sha256 = put(tmp_path / "turned.jpg", halves(), exif=exif, quality=95)
    preview = images.make_preview(tmp_path / "turned.jpg", sha256, folder)
    with Image.open(preview) as made:
        assert made.size == (20, 40)
        assert is_colour(made.getpixel((10, 5)), (255, 0, 0)) and is_colour(made.getpixel((10, 35)), (0, 0, 255))
    assert b"ann" not in preview.read_bytes() and b"Exif" not in preview.read_bytes()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_is_white(folder: Path, tmp_path: Path, mode: str) -> None:
    picture = Image.new("RGBA", (20, 20), (0, 0, 0, 0)).convert(mode)
    sha256 = put(tmp_path / "clear.png", picture, **({"transparency": 0} if mode == "P" else {}))
    with Image.open(images.make_preview(tmp_path / "clear.png", sha256, folder)) as made:
        assert is_colour(made.getpixel((10, 10)), (255, 255, 255))


@pytest.mark.parametrize("mode", ["1", "L", "I;16", "CMYK"])
def test_any_kind_of_samples(folder: Path, tmp_path: Path, mode: str) -> None:
    white = {"1": 1, "L": 255, "I;16": 65535, "CMYK": (0, 0, 0, 0)}[mode]
    name = tmp_path / ("white.jpg" if mode == "CMYK" else "white.png")
    sha256 = put(name, Image.new(mode, (20, 20), white))
    with Image.open(images.make_preview(name, sha256, folder)) as made:
        assert made.mode == "RGB" and is_colour(made.getpixel((10, 10)), (255, 255, 255))


def test_a_preview_is_made_once_and_again_if_it_is_empty(folder: Path, tmp_path: Path) -> None:
    sha256 = put(tmp_path / "fox.png", halves())
    first = images.make_preview(tmp_path / "fox.png", sha256, folder)
    (tmp_path / "fox.png").unlink()
    assert images.make_preview(tmp_path / "fox.png", sha256, folder) == first
    first.write_bytes(b"")
    with pytest.raises(images.PreviewFailed, match=r"fox\.png: can't be read"):
        images.make_preview(tmp_path / "fox.png", sha256, folder)


def test_what_cannot_be_made_is_said_and_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    good = put(tmp_path / "fox.png", halves())
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13))
    broken = hashlib.sha256((tmp_path / "broken.png").read_bytes()).hexdigest()
    given = [(tmp_path / "fox.png", good), (tmp_path / "broken.png", broken), (tmp_path / "fox.png", "1" * 64)]
    failed = images.make_previews(given, folder)
    assert [type(error) for error in failed] == [images.PreviewFailed, ChecksumMismatch]
    assert "broken.png" in str(failed[0]) and "changed since it was ingested" in str(failed[1])
    assert [path.name for path in folder.rglob("*") if path.is_file()] == [f"{good}.jpg"]


def test_the_key_is_made_once_for_its_owner_alone(folder: Path) -> None:
    key = load_key(folder)
    assert len(key) == 32 and load_key(folder) == key
    assert stat.S_IMODE((folder / "key").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (folder / "key").write_bytes(b"short")
    with pytest.raises(AmatlError, match="not a key of 32 bytes"):
        load_key(folder)


def test_a_signed_url_is_served_with_cors_and_cached(folder: Path, tmp_path: Path) -> None:
    _, url = served(folder, tmp_path)
    answer = client(folder).get(path_of(url), headers={"Origin": "http://studio"})
    assert answer.status_code == 200 and answer.headers["content-type"] == "image/jpeg"
    assert hashlib.sha256(answer.content).digest() == hashlib.sha256(next(folder.rglob("*.jpg")).read_bytes()).digest()
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["cache-control"] == "private, max-age=604800, immutable"
    again = client(folder).get(path_of(url), headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304 and not again.content
    head = client(folder).head(path_of(url))
    assert head.status_code == 200 and not head.content and head.headers["content-length"] == str(len(answer.content))


def test_nothing_caches_longer_than_the_address_lives(folder: Path, tmp_path: Path) -> None:
    sha256, _ = served(folder, tmp_path)
    url = signed_url("", sha256, datetime.now(UTC) + timedelta(seconds=60), load_key(folder))
    age = client(folder).get(url).headers["cache-control"].split("max-age=")[1].split(",")[0]
    assert 50 <= int(age) <= 60


def test_what_is_not_signed_is_refused(folder: Path, tmp_path: Path) -> None:
    sha256, url = served(folder, tmp_path)
    path, query = path_of(url).split("?")
    expires, signature = query.split("&")
    wrong = [
        path,
        f"{path}?{expires}",
        f"{path}?{signature}",
        f"{path}?{expires}1&{signature}",
        f"{path}?{expires}&signature={'0' * 64}",
        f"{path}?expires=%D9%A1&{signature}",
        f"{path.replace(sha256, '1' * 64)}?{query}",
        signed_url("", sha256, SOON, b"another key"),
        signed_url("", sha256, datetime.now(UTC) - timedelta(seconds=1), load_key(folder)),
    ]
    answers = [client(folder).get(address) for address in wrong]
    assert [answer.status_code for answer in answers] == [403] * len(wrong)
    assert {answer.headers["access-control-allow-origin"] for answer in answers} == {"*"}
    assert "expired" in answers[-1].text and "expired" not in answers[0].text


def test_no_path_reaches_the_disk_and_no_answer_names_one(folder: Path, tmp_path: Path) -> None:
    _, url = served(folder, tmp_path)
    query = url.split("?")[1]
    for name in [
        "key",
        "../key",
        "%2e%2e%2fkey",
        "..%2f..%2fetc%2fpasswd",
        "",
        f"{'A' * 64}.jpg",
        f"{'a' * 64}.jpg%0a",
    ]:
        answer = client(folder).get(f"/previews/{name}?{query}")
        assert answer.status_code == 404, name
        assert str(tmp_path) not in answer.text and answer.headers["access-control-allow-origin"] == "*"
    absent = client(folder).get(signed_url("", "2" * 64, SOON, load_key(folder)))
    assert absent.status_code == 404 and str(tmp_path) not in absent.text and "curator annotate push" in absent.text


def test_other_methods(folder: Path, tmp_path: Path) -> None:
    _, url = served(folder, tmp_path)
    preflight = client(folder).options(path_of(url), headers={"Access-Control-Request-Private-Network": "true"})
    assert preflight.status_code == 204 and preflight.headers["access-control-allow-private-network"] == "true"
    for method in ["POST", "PUT", "DELETE"]:
        assert client(folder).request(method, path_of(url)).status_code == 405


def test_healthz_tells_whose_previews_these_are(folder: Path, tmp_path: Path) -> None:
    answer = client(folder).get("/healthz").json()
    assert answer == {"status": "ok", "key_id": key_id(load_key(folder))}
    other = images.preview_folder(tmp_path / "other.duckdb")
    assert client(other).get("/healthz").json()["key_id"] != answer["key_id"]
