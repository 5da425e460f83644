"""Originals and thumbnails by SHA-256: made once, only for callers with access."""

from __future__ import annotations

import io
from pathlib import Path

from fastapi.testclient import TestClient
from PIL import Image

from curator.server.signing import signed
from tests.curator.lab import Lab
from tests.curator.server.conftest import MakeClient


def first(lab: Lab) -> tuple[str, str]:
    sha256, path = lab.run("SELECT image_sha256, path FROM files ORDER BY file_id LIMIT 1")[0]
    return sha256, path


def test_the_original_byte_for_byte(client: TestClient, lab: Lab) -> None:
    sha256, path = first(lab)
    answer = client.get(f"/images/{sha256}")
    assert answer.content == Path(path).read_bytes()
    assert answer.headers["content-type"] == "image/png" and "immutable" in answer.headers["cache-control"]
    assert client.get(f"/images/{sha256}", headers={"If-None-Match": f'"{sha256}"'}).status_code == 304


def test_a_thumbnail_is_made_once(client: TestClient, lab: Lab) -> None:
    sha256 = lab.add("large.png", 40, size=(900, 300))
    lab.write()
    answer = client.get(f"/thumbnails/{sha256}.jpg")
    assert Image.open(io.BytesIO(answer.content)).size == (384, 128)
    (lab.folder / "images" / "large.png").unlink()
    assert client.get(f"/thumbnails/{sha256}.jpg").content == answer.content
    gone = client.get(f"/images/{sha256}")
    assert gone.status_code == 404 and "curator doctor" in gone.json()["detail"]


def test_another_picture_at_its_place_is_never_shown(client: TestClient, lab: Lab) -> None:
    sha256, path = first(lab)
    Path(path).write_bytes(b"something else")
    assert client.get(f"/images/{sha256}").status_code == 409
    assert client.get(f"/thumbnails/{sha256}.jpg").status_code == 409


def test_of_several_paths_one_that_still_holds_it(client: TestClient, lab: Lab) -> None:
    sha256, path = first(lab)
    copy = Path(path).with_name("a copy.png")
    copy.write_bytes(Path(path).read_bytes())
    lab.file(copy, sha256, {})
    lab.write()
    for file in (Path(path), copy):
        content = file.read_bytes()
        file.write_bytes(b"something else")
        assert client.get(f"/images/{sha256}").content == content
        file.write_bytes(content)


def test_a_thumbnail_of_whichever_path_still_holds_it(client: TestClient, lab: Lab) -> None:
    for shade, changed in ((41, 0), (42, 1)):
        sha256 = lab.add(f"{shade}.png", shade)
        paths = [lab.folder / "images" / f"{shade}.png", lab.folder / "images" / f"copy of {shade}.png"]
        paths[1].write_bytes(paths[0].read_bytes())
        lab.file(paths[1], sha256, {})
        lab.write()
        paths[changed].write_bytes(b"something else")
        assert client.get(f"/thumbnails/{sha256}.jpg").status_code == 200


def test_unknown_and_malformed_names(client: TestClient) -> None:
    assert client.get(f"/images/{'0' * 64}").status_code == 404
    assert client.get("/thumbnails/..%2Fkey.jpg").status_code in (404, 422)


def test_for_a_signed_address_or_a_caller(make_client: MakeClient, lab: Lab) -> None:
    client = make_client(require_token=True)
    sha256, _ = first(lab)
    assert client.get(f"/thumbnails/{sha256}.jpg").status_code == 401
    key = client.app.state.key  # type: ignore[attr-defined]
    assert client.get(signed(f"/thumbnails/{sha256}.jpg", key)).status_code == 200
    assert client.get(signed(f"/images/{sha256}", b"x" * 32)).status_code == 403
