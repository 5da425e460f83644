"""Previews for annotators of a Label Studio on another machine: signed addresses without a login."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from curator.annotate.previews.make import make_preview, preview_folder
from curator.annotate.previews.serve import key_id
from curator.secret_files import load_key
from tests.curator.annotate.previews.signed_url import signed_url
from tests.curator.lab import Lab
from tests.curator.server.conftest import MakeClient

ORIGIN = "https://lab.example"


def test_what_a_push_signed_is_seen_without_a_login(make_client: MakeClient, lab: Lab) -> None:
    client = make_client(ORIGIN, host="0.0.0.0", require_token=True)
    sha256, path = lab.run("SELECT image_sha256, path FROM files ORDER BY file_id LIMIT 1")[0]
    previews = preview_folder(lab.catalog.path)
    key = load_key(previews)
    make_preview(lab.folder / path, sha256, previews)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    seen = client.get(signed_url(f"{ORIGIN}/annotators", sha256, tomorrow, key))
    assert (seen.status_code, seen.headers["content-type"]) == (200, "image/jpeg")
    assert seen.headers["access-control-allow-origin"] == "*"
    for days, signed_by, says in ((1, b"another" * 5, "signature is wrong"), (-2, key, "expired")):
        until = datetime.now(UTC) + timedelta(days=days)
        refused = client.get(signed_url(f"{ORIGIN}/annotators", sha256, until, signed_by))
        assert (refused.status_code, says in refused.text) == (403, True)
    assert client.get(f"/annotators/previews/{sha256}.jpg").status_code == 403
    assert client.get("/annotators/healthz").json()["key_id"] == key_id(key)


def test_the_page_of_annotation_is_another_thing(make_client: MakeClient) -> None:
    assert "text/html" in make_client().get("/annotation").headers["content-type"]
