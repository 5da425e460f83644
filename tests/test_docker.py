"""The container files: linted, read by the compose specification; what they run is run here, outside a container."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"
FILES = sorted(DOCKER.glob("*.Dockerfile"))


def commands(file: Path) -> list[tuple[str, str]]:
    """Instructions and their arguments, lines that go on put together."""
    text = re.sub(r"\\\n", " ", file.read_text("utf-8"))
    return [
        (word, rest.strip()) for word, _, rest in (line.partition(" ") for line in text.splitlines()) if word != "#"
    ]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_hadolint_finds_nothing(file: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    found = subprocess.run([hadolint, file], capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (0, ""), found.stderr


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_what_it_copies_and_installs_is_there_and_it_is_nobody_special(file: Path) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    found = commands(file)
    for word, rest in found:
        if word == "COPY":
            assert all((ROOT / source).exists() for source in rest.split()[:-1]), rest
    (installed,) = re.findall(r"'\.\[([a-z,-]+)\]'", " ".join(rest for word, rest in found if word == "RUN"))
    assert set(installed.split(",")) <= set(extras)
    words = [word for word, _ in found]
    assert ("USER", "10001") in found and words.index("USER") < words.index("ENTRYPOINT")


def test_compose_is_what_the_specification_wants() -> None:
    from compose_spec import PyCompose

    compose = PyCompose.from_yaml((DOCKER / "compose.yaml").read_text("utf-8"))
    compose.validate()
    assert compose.service_names() == ["curator", "trainer"]
    for line in re.findall(r"dockerfile: (\S+) }", (DOCKER / "compose.yaml").read_text("utf-8")):
        assert (ROOT / line).is_file()


@pytest.mark.slow
def test_the_service_of_the_container_starts_and_is_found_healthy(tmp_path: Path) -> None:
    """Its command, and the health check of compose.yaml against it."""
    import json

    from tests.server.serving import Serving

    (command,) = [json.loads(rest) for word, rest in commands(DOCKER / "curator.Dockerfile") if word == "CMD"]
    assert command[0] == "serve"
    catalog = tmp_path / "lab.duckdb"
    curator = [sys.executable, "-m", "curator"]
    subprocess.run([*curator, "init", str(catalog)], check=True, capture_output=True)
    subprocess.run([*curator, "token", "add", "ana", "--catalog", str(catalog)], check=True, capture_output=True)
    serving = Serving(catalog, *(str(tmp_path) if word == "/data" else word for word in command[1:]))
    try:
        port = serving.facts["url"].rpartition(":")[2]
        (check,) = re.findall(r'"CMD", "python", "-c", "(.+)"\]', (DOCKER / "compose.yaml").read_text("utf-8"))
        subprocess.run([sys.executable, "-c", check.replace("8400", port)], check=True, timeout=30)
        assert serving.client.get("/api/v1/datasets").status_code == 401
    finally:
        assert serving.stop() == 0


def test_what_readers_are_told_to_type_is_understood() -> None:
    from curator.cli import main

    lines = re.findall(r"run --rm curator (.+)", (DOCKER / "compose.yaml").read_text("utf-8"))
    assert len(lines) == 2
    for line in lines:
        name, *rest = shlex.split(line)
        main.commands[name].make_context(name, rest)
