"""Hostile, hasty or late use of pages: markup in names, stale forms, an ended login."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from curator.caption_sets.revise import LONGEST, revise
from curator.caption_sets.versions import commit, versions
from curator.catalog import Catalog
from curator.cli import main
from curator.datasets.image import image_caption
from curator.server import Settings, create_app
from curator.server.access_tokens import add, revoke, tokens
from tests.curator.lab import Lab, new_catalog
from tests.curator.server.conftest import BASE, MakeClient
from tests.curator.server.web.test_pages import HTML, csrf, fox

MARKUP = "<img src=x onerror=alert(1)>'\"`{{7*7}}</textarea></title><script>alert(1)</script>"
NAMES = ["a?b#c%20d&e.png", "'><b>\".png", "😀 ‮gnp.png", "..%2f..%2fetc.png"]


class Tags(HTMLParser):
    """Which tags and attributes a page really has."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.handlers: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.handlers |= {name for name, _ in attrs if name.startswith("on") or name == "style"}
        assert not any((value or "").lower().startswith(("javascript:", "data:")) for _, value in attrs)


@pytest.fixture
def odd(tmp_path: Path) -> Iterator[Lab]:
    """Return a lab with odd image names, markup in captions, metadata and messages, and a set with one image."""
    lab = Lab(tmp_path)
    images = [lab.add(name, number, {MARKUP: MARKUP, "a": MARKUP}) for number, name in enumerate(NAMES)]
    lab.commit("human", dict.fromkeys(images, MARKUP), "template")
    lab.commit("one", {images[0]: "x" * LONGEST}, "fixed")
    lab.run(f"UPDATE versions SET message = {sql(MARKUP)}, person = {sql(MARKUP)}")
    lab.caption("one", {images[0]: "y " * (LONGEST // 2)}, "fixed")
    lab.write()
    yield lab
    lab.catalog.close()


def sql(text: str) -> str:
    doubled = text.replace("'", "''")
    return f"'{doubled}'"


def addresses(lab: Lab) -> list[str]:
    images = [row[0] for row in lab.run("SELECT image_sha256 FROM files ORDER BY file_id")]
    base = "/datasets/zoo"
    return [
        "/", base, f"{base}/tiles", *(f"{base}/images/{image}" for image in images), f"{base}/rejects",
        f"{base}/compare?sets=human&sets=one", f"{base}/compare?sets=human&sets=human@1", f"{base}/replace",
        f"{base}/replace?caption_set=human&find=img&replacement=%3Cb%3E", "/versions", "/sets/zoo/human",
        "/sets/zoo/one", "/diff?before=zoo/one@1&after=zoo/one", "/diff?before=zoo/human&after=zoo/one",
        f"{base}/export", f"{base}/export?text=zoo/human@1", f"{base}/export?text=zoo/one@1&holdout=0",
        "/snapshots", "/annotation", "/jobs", "/jobs?command=%3Cscript%3E", "/login?next=%22%3E%3Cscript%3E",
    ]  # fmt: skip


@pytest.mark.slow
def test_nothing_that_people_write_becomes_markup(odd: Lab) -> None:
    with TestClient(create_app(odd.catalog, Settings(odd.catalog.path), main), BASE) as client:
        chosen = " ".join(row[0] for row in odd.run("SELECT image_sha256 FROM files"))
        answer = client.post("/datasets/zoo/selection", data={"images": chosen}, headers=HTML)
        pages = [(str(answer.url), answer)]
        pages += [(address, client.get(address, headers=HTML)) for address in addresses(odd)]
        for address, answer in pages:
            assert answer.status_code == 200, (address, answer.text)
            found = Tags(answer.text)
            assert "b" not in re.findall(r"<b>\"", answer.text), address
            assert not found.handlers, address
            assert answer.text.count("<script") == (0 if address.endswith("/tiles") else 1), address
            assert "49" not in re.findall(r"`(\d+)</textarea", unescape(answer.text)), address


@pytest.mark.parametrize(
    "asked",
    [
        {"text": MARKUP}, {"where": MARKUP}, {"metadata": MARKUP}, {"caption_set": MARKUP}, {"person": MARKUP},
        {"min_length": MARKUP}, {"after": MARKUP}, {"show": MARKUP}, {"where": "(" * 500}, {"text": "x" * 2_000},
        {"min_width": "9" * 40}, {"metadata": ["a=b"] * 30},
    ],
)  # fmt: skip
def test_filters_that_nobody_means(client: TestClient, asked: dict[str, Any]) -> None:
    answer = client.get("/datasets/zoo", params=asked, headers=HTML)
    assert answer.status_code in (200, 422) and not Tags(answer.text).handlers
    assert answer.text.count("<script") == 1


@pytest.mark.parametrize("page", ["/", "/versions", "/compare", "/snapshots", "/annotation", "/jobs"])
def test_an_empty_catalog_says_what_to_do(tmp_path: Path, page: str) -> None:
    with (
        new_catalog(tmp_path / "lab.duckdb") as catalog,
        TestClient(create_app(catalog, Settings(catalog.path), main), BASE) as client,
    ):
        answer = client.get(page, headers=HTML)
        assert answer.status_code == 200 and 'class="empty"' in answer.text
        assert client.get("/datasets/zoo/export", headers=HTML).status_code == 404


def test_a_snapshot_of_one_image(odd: Lab) -> None:
    with TestClient(create_app(odd.catalog, Settings(odd.catalog.path), main), BASE) as client:
        page = client.get("/datasets/zoo/export?text=zoo/one@1&holdout=0", headers=HTML).text
        assert "Export 1 images" not in page and "Export 1 image" in page
        none = client.get("/datasets/zoo/export?text=zoo/one@1&holdout=1", headers=HTML)
        assert none.status_code == 422 and "nothing is left to train on" in none.text


def test_a_page_that_was_loaded_before_somebody_else_wrote_commits_and_restores_nothing(
    client: TestClient, catalog: Catalog, lab: Lab
) -> None:
    page = client.get("/sets/zoo/human", headers=HTML).text
    seen = re.findall(r'name="seen" value="(\d+)"', page)[0]
    form = {"csrf_token": csrf(client, "/jobs"), "seen": seen, "message": "mine"}
    revise(catalog, "zoo", "human", fox(lab), "by ben", "ben")
    for action in ("versions", "versions/1/restore"):
        answer = client.post(f"/sets/zoo/human/{action}", data=form, headers=HTML)
        assert answer.status_code == 412 and "changed since this page was loaded" in answer.text
    assert len(versions(catalog, "zoo/human").sets[0].versions) == 1
    assert image_caption(catalog, "zoo", fox(lab), "human").text == "by ben"


def test_a_commit_sent_twice_makes_one_version(client: TestClient, catalog: Catalog) -> None:
    form = {"csrf_token": csrf(client, "/jobs"), "message": "mine"}
    client.post("/sets/zoo/human/versions", data=form, headers=HTML)
    assert "Nothing new" in client.post("/sets/zoo/human/versions", data=form, headers=HTML).text
    assert len(versions(catalog, "zoo/human").sets[0].versions) == 2


def test_a_wrong_token_leads_back_to_the_form_and_on_to_where_one_wanted(make_client: MakeClient) -> None:
    client = make_client(require_token=True)
    came = {"Referer": "http://127.0.0.1/login?next=%2Fjobs", "Host": "127.0.0.1"}
    answer = client.post("/login", data={"token": "wrong"}, headers=HTML | came)
    assert answer.status_code == 401 and 'href="/login?next=%2Fjobs"' in answer.text


def test_a_login_that_ended_meanwhile(make_client: MakeClient, catalog: Catalog, lab: Lab) -> None:
    client = make_client(require_token=True)
    added = add(catalog, "ana", "write", None, "boss")
    client.post("/login", data={"token": added.token})
    token = csrf(client, "/sets/zoo/human")
    revoke(catalog, tokens(catalog).tokens[0].id, "boss")
    headers = HTML | {"Referer": f"{BASE}/sets/zoo/human"}
    answer = client.post("/sets/zoo/human/versions", data={"csrf_token": token, "message": "x"}, headers=headers)
    assert answer.status_code == 401 and "to find what you typed" in answer.text and "/login" in answer.text
    assert len(versions(catalog, "zoo/human").sets[0].versions) == 1
    tiles = client.get("/datasets/zoo/tiles", headers=HTML, follow_redirects=False)
    assert tiles.status_code == 303  # the script sees that, and puts no page to log in at into the gallery


def test_an_error_of_a_form_leads_back_to_its_page_and_to_no_other(client: TestClient) -> None:
    data = {"csrf_token": csrf(client, "/jobs"), "seen": 0, "message": "x"}
    for came, wanted in ((f"{BASE}/sets/zoo/human?a=1&b=2", "/sets/zoo/human?a=1&amp;b=2"), ("http://evil/x", None)):
        page = client.post("/sets/zoo/human/versions", data=data, headers=HTML | {"Referer": came}).text
        assert (f'href="{wanted}">Load the page again' in page) if wanted else ("Load the page again" not in page)


def test_ten_thousand_characters_are_one_caption_and_one_more_is_said(client: TestClient, lab: Lab) -> None:
    here = f"/datasets/zoo/images/{fox(lab)}"
    form = {"expected": "1", "csrf_token": csrf(client, here), "text": "é" * (LONGEST + 1)}
    assert client.post(f"{here}/captions/human", data=form, headers=HTML).status_code == 422
    now = image_caption(lab.catalog, "zoo", fox(lab), "human").caption_id
    form |= {"expected": str(now), "text": "😀" * LONGEST}
    assert client.post(f"{here}/captions/human", data=form, headers=HTML).status_code == 200
    assert "😀" * 50 in client.get("/datasets/zoo?show=human", headers=HTML).text
    commit(lab.catalog, "zoo/human", "long", "ana")
