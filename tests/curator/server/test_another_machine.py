"""Commands with `--server URL`: those that need no local file behave alike; the others are refused at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from curator.catalog import Catalog
from curator.cli import main
from curator.server.access_tokens import add
from tests.curator.lab import Lab
from tests.curator.server.serving import Serving

pytestmark = pytest.mark.slow
CAPTION = ("caption", "zoo", "--set", "made", "--strategy")
SAME = (
    (*CAPTION, "template", "-o", "template=a ${title}"),
    (*CAPTION, "template", "-o", "template=the ${title}", "--where", "title = 'fox'"),
    ("commit", "zoo/made", "-m", "first"),
    ("versions",),
    ("diff", "template@1", "made@1"),
    ("restore", "zoo/human@1"),
    ("stats", "zoo/made"),
    ("check", "zoo/made", "--field", "title", "--json"),
    ("compare", "zoo", "--sets", "template@1,made@1"),
    ("history", "wolf.png"),
    ("rejects",),
    ("failures",),
    ("annotate", "status"),
)
REFUSED = (
    ((*CAPTION, "sidecar"), "2 images aren't on this machine"),
    (("snapshot", "template@1", "--out", "here", "--link"), "so they can't be linked"),
    (("annotate", "start"), "started on that machine"),
    (("token", "add", "eve"), "own machine"),
    (("prune",), "own machine"),
    (("serve",), "on the machine that has the catalog"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("far")
    lab = Lab(folder)
    images = {name: lab.add(f"{name}.png", number, {"title": name}) for number, name in enumerate(("fox", "wolf"))}
    lab.commit("template", {image: f"a drawing of a {name}" for name, image in images.items()}, "template")
    lab.commit("human", {image: f"{name} in the snow" for name, image in images.items()})
    lab.close()
    return folder


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Serving]:
    """Start a service that needs a token; `bo` has one in a file."""
    with Catalog(folder / "lab.duckdb") as catalog:
        token = add(catalog, "bo", "write", None, "ana").token
        reads = add(catalog, "cy", "read", None, "ana").token
    for name, content in (("token", token), ("reads", reads)):
        (folder / name).write_text(f"{content}\n")
        (folder / name).chmod(0o600)
    (folder / "copy.duckdb").write_bytes((folder / "lab.duckdb").read_bytes())
    serving = Serving(folder / "lab.duckdb", "--require-token")
    yield serving
    assert serving.stop() == 0


def run(words: tuple[str, ...], **environment: str) -> Result:
    clean = dict.fromkeys(("CURATOR_URL", "CURATOR_TOKEN", "CURATOR_TOKEN_FILE", "CURATOR_CATALOG"))
    result = CliRunner().invoke(main, words, env=clean | environment)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


def test_what_needs_no_file_is_the_same_and_noted_under_the_tokens_name(served: Serving, folder: Path) -> None:
    there = {"CURATOR_URL": served.facts["url"], "CURATOR_TOKEN_FILE": str(folder / "token")}
    for words in SAME:
        here = run(words, CURATOR_CATALOG=str(folder / "copy.duckdb"))
        far = run(words, **there)
        assert (far.exit_code, far.stdout) == (here.exit_code, here.stdout) or words[0] in {"versions", "history"}, (
            words
        )
        assert far.exit_code == here.exit_code, far.output
    assert '"person": "bo"' in run(("versions", "--json"), **there).stdout
    with Catalog(folder / "lab.duckdb") as catalog:
        assert catalog.versions().filter(set_name="made")["person"].to_list() == ["bo"]


@pytest.mark.parametrize(("words", "says"), REFUSED, ids=lambda given: given[0])
def test_what_is_for_that_machine_alone_is_refused_and_nothing_is_done(
    served: Serving, folder: Path, words: tuple[str, ...], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    before = sorted(folder.iterdir())
    refused = run(words, CURATOR_URL=served.facts["url"], CURATOR_TOKEN_FILE=str(folder / "token"))
    assert refused.exit_code in {1, 2} and says in refused.stderr, refused.output
    assert refused.stderr.count("Error") == 1 and "Traceback" not in refused.output
    assert sorted(folder.iterdir()) == before


def test_tokens_are_needed_kept_to_their_scope_and_never_shown(served: Serving, folder: Path) -> None:
    url = served.facts["url"]
    nobody = run(("versions", "--server", url))
    assert nobody.exit_code == 1 and "CURATOR_TOKEN" in nobody.stderr
    reads = (folder / "reads").read_text().strip()
    assert run(("versions", "--server", url), CURATOR_TOKEN=reads).exit_code == 0
    refused = run(("commit", "zoo/human", "-m", "x", "--server", url), CURATOR_TOKEN=reads)
    assert refused.exit_code == 0 or "scope write" in refused.stderr
    writes = run((*CAPTION, "fixed", "-o", "text=x", "--server", url), CURATOR_TOKEN=reads)
    assert writes.exit_code == 1 and "scope write; cy's token has read" in writes.stderr
    assert reads not in nobody.output + refused.output + writes.output
    listing = run(("token", "list", "--server", url), CURATOR_TOKEN_FILE=str(folder / "token"))
    assert listing.exit_code == 1 and "own machine" in listing.stderr
    (folder / "token").chmod(0o644)
    open_to_all = run(("versions", "--server", url), CURATOR_TOKEN_FILE=str(folder / "token"))
    assert open_to_all.exit_code == 2 and "chmod 600" in open_to_all.stderr


def test_what_isnt_a_service_is_told_apart(tmp_path: Path) -> None:
    class Page(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>Hello</html>")

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            page = run(("versions", "--server", f"http://127.0.0.1:{server.server_port}"))
        finally:
            server.shutdown()
            thread.join()
    assert page.exit_code == 1 and "no curator service" in page.stderr


def test_an_address_where_nobody_is_says_so() -> None:
    nobody = run(("versions", "--server", "http://127.0.0.1:9"))
    assert nobody.exit_code == 1 and "nobody answers there" in nobody.stderr
    assert run(("versions", "--server", "lab.example")).exit_code == 2
    assert run(("versions", "--server", "http://a", "--catalog", "b")).exit_code == 2
