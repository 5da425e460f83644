"""Access control: tokens, scopes, cookies, CSRF, hosts, origins, sizes."""

from __future__ import annotations

import time
from typing import Annotated

import pytest
from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.testclient import TestClient

from curator.catalog import Catalog
from curator.server.access import COOKIE, Caller, needs, new_session, session_token
from curator.server.access_tokens import token_sha256
from curator.server.signing import refusal, signed
from tests.curator.server.conftest import MakeClient

router = APIRouter()


@router.get("/probe/read")
def read(request: Request, caller: Annotated[Caller, Depends(needs("read"))]) -> dict[str, str]:
    return {"person": caller.person, "csrf": request.state.csrf_token}


@router.post("/probe/annotate")
def annotate(caller: Annotated[Caller, Depends(needs("annotate"))]) -> str:
    return caller.person


@router.post("/probe/body")
async def body(request: Request) -> int:
    return len(await request.body())


def probed(client: TestClient) -> TestClient:
    """Return a client of an app with the routes above."""
    app = client.app
    assert isinstance(app, FastAPI)
    app.include_router(router)
    return client


def token(catalog: Catalog, scope: str, person: str = "bo", days: int | None = None) -> str:
    made = f"amatl_{scope}_{person}"
    catalog.add_access_token(person, scope, token_sha256(made), "ana", days)
    return made


def bearer(value: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {value}"}


@pytest.fixture
def abroad(make_client: MakeClient) -> TestClient:
    """Return a client of a service that needs a token."""
    return probed(make_client("https://lab.example", host="0.0.0.0", require_token=True))


def test_on_loopback_nobody_needs_a_token(client: TestClient) -> None:
    assert probed(client).get("/probe/read").status_code == 200
    assert client.post("/probe/annotate").status_code == 200


def test_abroad_a_token_names_the_person_and_its_scope_is_kept(abroad: TestClient, catalog: Catalog) -> None:
    refused = abroad.get("/probe/read")
    assert refused.status_code == 401 and refused.headers["www-authenticate"] == "Bearer"
    assert refused.json()["type"] == "urn:amatl:error:Unauthorised"
    reads, writes = token(catalog, "read"), token(catalog, "write", "cy")
    assert abroad.get("/probe/read", headers=bearer(reads)).json()["person"] == "bo"
    refused = abroad.post("/probe/annotate", headers=bearer(reads))
    assert refused.status_code == 403 and "scope annotate; bo's token has read" in refused.json()["detail"]
    assert abroad.post("/probe/annotate", headers=bearer(writes)).json() == "cy"
    assert abroad.get("/probe/read", headers=bearer("amatl_guess")).status_code == 401


def test_revoked_and_expired_tokens_are_refused(abroad: TestClient, catalog: Catalog) -> None:
    revoked, expired = token(catalog, "read"), token(catalog, "read", "late", days=0)
    assert abroad.get("/probe/read", headers=bearer(expired)).status_code == 401
    assert abroad.get("/probe/read", headers=bearer(revoked)).status_code == 200
    catalog.revoke_access_token(1, "ana")
    assert abroad.get("/probe/read", headers=bearer(revoked)).status_code == 401


def test_a_person_logs_in_changes_something_with_the_pages_token_and_logs_out(
    abroad: TestClient, catalog: Catalog
) -> None:
    made = token(catalog, "annotate")
    assert abroad.post("/login", data={"token": "amatl_guess"}).status_code == 401
    answer = abroad.post("/login", data={"token": made, "next": "/probe/read"})
    cookie = answer.history[0].headers["set-cookie"]
    assert all(word in cookie for word in ("HttpOnly", "SameSite=strict", "Secure")) and made not in cookie
    csrf = answer.json()["csrf"]
    assert abroad.post("/probe/annotate").status_code == 403
    assert abroad.post("/probe/annotate", headers={"x-csrf-token": "0" * 64}).status_code == 403
    assert abroad.post("/probe/annotate", headers={"x-csrf-token": csrf}).json() == "bo"
    assert abroad.post("/probe/annotate", data={"csrf_token": csrf}).json() == "bo"
    abroad.post("/logout", data={"csrf_token": csrf}, follow_redirects=False)
    assert abroad.get("/probe/read").status_code == 401


@pytest.mark.parametrize("elsewhere", ["https://evil.example", "//evil.example", "/\\evil.example", "/a\nb"])
def test_logging_in_leads_nowhere_else(abroad: TestClient, catalog: Catalog, elsewhere: str) -> None:
    sent = {"token": token(catalog, "read"), "next": elsewhere}
    assert abroad.post("/login", data=sent, follow_redirects=False).headers["location"] == "/"


def test_a_browser_without_a_login_is_led_to_the_page_and_back(abroad: TestClient) -> None:
    answer = abroad.get("/probe/read?a=1&b=2", headers={"accept": "text/html"}, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=%2Fprobe%2Fread%3Fa%3D1%26b%3D2")


@pytest.mark.parametrize("digest", ["", "a.b", "a.9999999999.0", "é.٣.0"])
def test_a_made_up_cookie_is_none(digest: str) -> None:
    assert session_token(digest, b"k" * 32) is None


def test_a_session_holds_for_its_key_alone() -> None:
    session = new_session("a" * 64, b"k" * 32)
    assert session_token(session, b"k" * 32) == "a" * 64
    assert session_token(session, b"q" * 32) is None


def test_on_loopback_a_page_from_elsewhere_changes_nothing(client: TestClient) -> None:
    csrf = probed(client).get("/probe/read").json()["csrf"]
    for headers in ({"origin": "https://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}):
        assert client.post("/probe/annotate", headers={**headers, "x-csrf-token": csrf}).status_code == 403
    ours = {"origin": "http://127.0.0.1:8400"}
    assert client.post("/probe/annotate", headers=ours).status_code == 403
    assert client.post("/probe/annotate", headers=ours | {"x-csrf-token": csrf}).status_code == 200


@pytest.mark.parametrize(("host", "status"), [("evil.example:8400", 403), ("localhost", 404), ("[::1]:8400", 404)])
def test_on_loopback_only_this_host_is_named(client: TestClient, host: str, status: int) -> None:
    assert client.get("/nothing", headers={"host": host}).status_code == status


def test_a_made_up_socket_is_no_way_in(abroad: TestClient) -> None:
    forged = {"x-forwarded-for": "127.0.0.1", "host": "localhost", "x-real-ip": "::1"}
    assert abroad.get("/probe/read", headers=forged).status_code == 401
    assert abroad.get("/probe/read", headers={"cookie": f"{COOKIE}=local"}).status_code == 401


def test_bodies_have_a_limit_told_or_not(make_client: MakeClient) -> None:
    client = probed(make_client(max_body_bytes=10))
    assert client.post("/probe/body", content=b"0123456789").json() == 10
    told = client.post("/probe/body", content=b"0123456789x")
    assert (told.status_code, told.json()["type"]) == (413, "urn:amatl:error:TooLarge")
    untold = client.post("/probe/body", content=iter([b"0123456789", b"x"]))
    assert untold.status_code == 413


def test_no_more_requests_in_hand_than_allowed(make_client: MakeClient) -> None:
    answer = make_client(max_requests=0).get("/openapi.json")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


def test_every_answer_has_the_security_headers(client: TestClient) -> None:
    for answer in (client.get("/openapi.json"), client.get("/nothing"), client.get("/", headers={"host": "evil"})):
        assert "'unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_signed_address_is_good_for_its_path_until_it_expires() -> None:
    key, now = b"k" * 32, time.time()
    path, _, query = signed("/images/ab", key, 60, now).partition("?")
    given = dict(part.split("=") for part in query.split("&"))
    assert refusal(path, given["expires"], given["signature"], key, now) is None
    assert "wrong" in str(refusal("/images/ac", given["expires"], given["signature"], key, now))
    assert "wrong" in str(refusal(path, str(int(given["expires"]) + 1), given["signature"], key, now))
    assert "expired" in str(refusal(path, given["expires"], given["signature"], key, now + 2 * 3600))
    assert "isn't signed" in str(refusal(path, "", "é", key, now))
