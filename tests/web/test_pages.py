"""Every page over a small catalog: it shows what the stages say, and its forms do what they do."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

HTML = {"Accept": "text/html"}
PAGES = [
    "/", "/datasets/zoo", "/datasets/zoo/tiles", "/datasets/zoo/rejects", "/datasets/zoo/compare",
    "/datasets/zoo/compare?sets=human&sets=template@1", "/datasets/zoo/replace", "/versions", "/sets/zoo/human",
    "/diff?before=zoo/human@1", "/diff?before=zoo/human&after=zoo/template@1", "/snapshots", "/annotation", "/login",
]  # fmt: skip


@pytest.mark.parametrize("address", PAGES)
def test_page(client: TestClient, address: str) -> None:
    answer = client.get(address, headers=HTML)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "<script>" not in answer.text and "style=" not in answer.text
