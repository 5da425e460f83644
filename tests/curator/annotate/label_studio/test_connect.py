"""The Label Studio, the token and the previews that a command uses: options, environment, `annotate start`."""

from __future__ import annotations

from pathlib import Path

import pytest

from curator.annotate.label_studio.connect import address, connect, images_address
from curator.annotate.label_studio.http import TokenRefused
from curator.annotate.local_server.state import LocalServer, write_local_server
from schemas.errors import BadOption

LOCAL = LocalServer(
    url="http://localhost:8080", images_url="http://localhost:8081", owner="o", password="p", token="local"
)


def test_which_label_studio_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LABEL_STUDIO_URL", raising=False)
    assert address(LOCAL, "http://x/", None) == "http://x"
    assert address(LOCAL, None, "http://127.0.0.1:9999") == "http://localhost:8080"  # started anew on another port
    assert address(LOCAL, None, "https://ls.example.org") == "https://ls.example.org"
    assert address(None, None, "http://127.0.0.1:9999") == "http://127.0.0.1:9999"
    with pytest.raises(BadOption, match="curator annotate start"):
        address(None, None, None)
    with pytest.raises(BadOption, match="whole address"):
        address(LOCAL, "localhost:8080", None)
    monkeypatch.setenv("LABEL_STUDIO_URL", "http://env")
    assert address(LOCAL, None, "http://last") == "http://env"


@pytest.mark.parametrize("url", ["http://ann:s3cret@host:8080", "https://s3cret@host/?a", "ann:s3cret@host"])
def test_an_address_with_a_login_is_refused_and_not_repeated(url: str, tmp_path: Path) -> None:
    """It would stand in the catalog, in what is printed, and (of the previews) in every task."""
    with pytest.raises(BadOption, match="--url: leave the login out") as refusal:
        address(LOCAL, url, None)
    with pytest.raises(BadOption, match="--images-url: leave the login out") as other:
        images_address(tmp_path / "lab.duckdb", url, None)
    assert "s3cret" not in f"{refusal.value} {other.value}"
    assert address(LOCAL, "http://host/~ann@home", None) == "http://host/~ann@home"


def test_the_token_of_start_goes_to_its_own_label_studio_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LABEL_STUDIO_API_KEY", raising=False)
    monkeypatch.delenv("LABEL_STUDIO_URL", raising=False)
    catalog = tmp_path / "lab.duckdb"
    write_local_server(catalog, LOCAL)
    with connect(catalog, None) as client:
        assert (client.url, client.token) == ("http://localhost:8080", "local")
    with pytest.raises(TokenRefused, match="LABEL_STUDIO_API_KEY"):
        connect(catalog, "https://ls.example.org")
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "mine")
    with connect(catalog, "https://ls.example.org") as client:
        assert client.token == "mine"
    assert images_address(catalog, None, "http://last") == "http://localhost:8081"
    assert images_address(tmp_path / "other", None, "http://last") == "http://last"
    with monkeypatch.context() as patch:
        patch.setenv("CURATOR_IMAGES_URL", "https://lab.example/annotators/")
        assert images_address(catalog, None, "http://last") == "https://lab.example/annotators"
        assert images_address(catalog, "http://asked", "http://last") == "http://asked"
    with pytest.raises(BadOption, match="--images-url"):
        images_address(tmp_path / "other", None, None)
