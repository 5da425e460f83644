"""The container files: linted, read by the compose specification; what they run is run here, outside a container."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from curator.annotate.local_server.environment import VERSION
from curator.annotate.local_server.process import Account, settings

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"
FILES = sorted(DOCKER.glob("*.Dockerfile"))


def compose(**environment: str) -> tuple[str, dict[str, Any]]:
    """compose.yaml with its variables put in, as text and parsed."""
    text = (DOCKER / "compose.yaml").read_text("utf-8")
    text = re.sub(r"\$\{(\w+):-([^}]*)\}", lambda found: environment.get(found[1], found[2]), text)
    return text, yaml.safe_load(text)


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
    (image,) = [rest for word, rest in found if word == "FROM"]
    assert re.search(r":\d+\.\d+\.\d+-", image), f"{image} isn't pinned"


@pytest.mark.parametrize("asked", [{}, {"AMATL_SCHEME": "https", "AMATL_HOST": "lab.example.org"}])
def test_compose_is_what_the_specification_wants(asked: dict[str, str]) -> None:
    from compose_spec import PyCompose

    text, parsed = compose(**asked)
    PyCompose.from_yaml(text).validate()
    services = parsed["services"]
    assert list(services) == ["proxy", "curator", "label-studio", "postgresql", "trainer"]
    address = "https://lab.example.org" if asked else "http://amatl.localhost"
    assert services["proxy"]["environment"]["AMATL_ADDRESS"] == address == services["curator"]["command"][-1]
    assert [name for name, service in services.items() if "ports" in service] == ["proxy"]
    for service in services.values():
        assert "build" in service or re.search(r":\d+\.\d+(\.\d+)?(-|$)", service["image"]), "an image isn't pinned"
        if "build" in service:
            assert (DOCKER / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
        for source in service.get("volumes", []):
            name = source.partition(":")[0]
            assert (DOCKER / name).is_file() if name.startswith(".") else name in parsed["volumes"]
        for waited in service.get("depends_on", {}):
            assert "healthcheck" in services[waited] or waited == "curator"  # its image has one


def test_label_studio_is_told_what_annotate_start_tells_it() -> None:
    """Quiet, no sign-up without a link, tokens that our commands can use; and the version we test with."""
    service = compose()[1]["services"]["label-studio"]
    assert service["image"].endswith(f":{VERSION}")
    told = settings(Path("/data"), "", Account("", "", ""), "postgresql://label-studio:x@postgresql/label-studio")
    ours = {name: value for name, value in told.items() if name.startswith("LABEL_STUDIO_")}
    secret = {secret["target"] for secret in service["secrets"]}
    assert secret == {"LABEL_STUDIO_PASSWORD", "LABEL_STUDIO_USER_TOKEN", "LABEL_STUDIO_POSTGRE_PASSWORD"}
    # Of the image itself: its data folder. Not here: webhooks to this machine, so protection against them stays.
    elsewhere = {"LABEL_STUDIO_BASE_DATA_DIR", "LABEL_STUDIO_SSRF_PROTECTION_ENABLED"}
    of_the_address = {"LABEL_STUDIO_HOST", "LABEL_STUDIO_USERNAME", "LABEL_STUDIO_CSRF_TRUSTED_ORIGINS"}
    environment = {name: value for name, value in service["environment"].items() if name not in of_the_address}
    assert environment == {
        name: value for name, value in ours.items() if name not in secret | elsewhere | of_the_address
    }


def test_passwords_are_made_once_and_reach_a_command_as_variables(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    made = [subprocess.run([DOCKER / "make-secrets.sh", folder], check=True, capture_output=True) for _ in range(2)]
    assert made[0].stdout == made[1].stdout
    secrets = {path.name: path.read_text() for path in folder.iterdir()}
    assert set(secrets) == set(compose()[1]["secrets"])
    assert len(set(secrets.values())) == 3 and all(re.fullmatch("[0-9a-f]{40}", text) for text in secrets.values())
    assert folder.stat().st_mode & 0o777 == 0o700
    assert not any(text in made[0].stdout.decode() for text in secrets.values())
    again = subprocess.run([DOCKER / "make-secrets.sh", folder], check=True, capture_output=True)
    assert again.stdout and {path.name: path.read_text() for path in folder.iterdir()} == secrets

    shown = tmp_path / "shown"  # as a container sees them, under other names
    shown.mkdir()
    (shown / "LABEL_STUDIO_USER_TOKEN").write_text(secrets["label-studio-token"] + "\n")
    (shown / "LABEL_STUDIO_PASSWORD").write_text("two words'; $(echo no)")
    program = "import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ)]))"
    run = subprocess.run(
        ["sh", DOCKER / "with-secrets.sh", sys.executable, "-c", program, "a b", "*"],
        env={"SECRETS": str(shown), "PATH": os.environ["PATH"]},
        capture_output=True,
        check=True,
    )
    words, environment = json.loads(run.stdout)
    assert words == ["a b", "*"]
    assert environment["LABEL_STUDIO_USER_TOKEN"] == secrets["label-studio-token"]
    assert environment["LABEL_STUDIO_PASSWORD"] == "two words'; $(echo no)"


def test_without_its_passwords_nothing_starts(tmp_path: Path) -> None:
    environment = {"SECRETS": str(tmp_path), "PATH": os.environ["PATH"]}
    run = subprocess.run(["sh", DOCKER / "with-secrets.sh", "echo", "started"], env=environment, capture_output=True)
    assert run.returncode != 0 and b"started" not in run.stdout


@pytest.mark.parametrize("address", ["http://amatl.localhost", "https://lab.example.org"])
def test_the_proxy_takes_its_configuration(address: str) -> None:
    if not shutil.which("caddy"):
        pytest.skip("caddy isn't installed")
    command = ["caddy", "validate", "--adapter", "caddyfile", "--config", DOCKER / "Caddyfile"]
    environment = {"AMATL_ADDRESS": address, "PATH": os.environ["PATH"], "HOME": os.environ["HOME"]}
    found = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (found.returncode, "Valid configuration" in found.stdout) == (0, True), found.stderr
    formatted = subprocess.run(["caddy", "fmt", DOCKER / "Caddyfile"], capture_output=True, text=True)
    assert formatted.stdout == (DOCKER / "Caddyfile").read_text("utf-8")


@pytest.mark.slow
def test_the_service_of_the_container_starts_and_is_found_healthy(tmp_path: Path) -> None:
    """Its command, and the image's health check against it."""
    from tests.curator.server.serving import Serving

    found = commands(DOCKER / "curator.Dockerfile")
    (command,) = [json.loads(rest) for word, rest in found if word == "CMD"]
    assert command[0] == "serve"
    catalog = tmp_path / "lab.duckdb"
    curator = [sys.executable, "-m", "curator"]
    subprocess.run([*curator, "init", str(catalog)], check=True, capture_output=True)
    subprocess.run([*curator, "token", "add", "ana", "--catalog", str(catalog)], check=True, capture_output=True)
    serving = Serving(catalog, *(str(tmp_path) if word == "/data" else word for word in command[1:]))
    try:
        port = serving.facts["url"].rpartition(":")[2]
        (check,) = [json.loads(rest.partition("CMD")[2]) for word, rest in found if word == "HEALTHCHECK"]
        subprocess.run([sys.executable, *check[1:-1], check[-1].replace("8400", port)], check=True, timeout=30)
        assert serving.client.get("/api/v1/datasets").status_code == 401
    finally:
        assert serving.stop() == 0


def test_what_readers_and_containers_are_told_to_run_is_understood() -> None:
    from curator.cli import main

    text, parsed = compose()
    lines = [shlex.split(line) for line in re.findall(r"run --rm curator (.+)", text)]
    assert len(lines) == 2
    for name, *rest in lines:
        main.commands[name].make_context(name, rest)
    name, *rest = [ROOT.as_posix() if word == "/data" else word for word in parsed["services"]["curator"]["command"]]
    main.commands[name].make_context(name, rest)
    assert "make secrets" in text and "\nsecrets:" in (ROOT / "Makefile").read_text("utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_what_an_image_installs_starts(file: Path, tmp_path: Path) -> None:
    """The copied files in a folder of their own, the RUN line's pip in an environment of its own, the entry point.

    All of its packages are resolved from the pins; what is installed is what the command line itself needs, since
    the rest takes gigabytes and minutes, and `make setup` installs the same pins.
    """
    found = commands(file)
    for words in (rest.split() for word, rest in found if word == "COPY"):
        for source in words[:-1]:
            copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
            copy(ROOT / source, tmp_path / source)
    (run,) = [rest for word, rest in found if word == "RUN"]
    steps = [step.strip() for step in run.split("&&") if not step.strip().startswith(("useradd", "install"))]
    for step in [step for step in steps if not step.startswith("pip")]:
        subprocess.run(["sh", "-ec", step], cwd=tmp_path, check=True)
    (pip,) = [shlex.split(step) for step in steps if step.startswith("pip")]
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    plan = [python, "-m", *pip, "--dry-run", "--quiet", "--ignore-installed"]
    subprocess.run(plan, cwd=tmp_path, check=True, timeout=600)
    few = [re.sub(r"\[.*\]", "", word) for word in pip]
    subprocess.run([python, "-m", *few, "--quiet"], cwd=tmp_path, check=True, timeout=600)
    (entry,) = [json.loads(rest) for word, rest in found if word == "ENTRYPOINT"]
    told = subprocess.run([python.with_name(entry[0]), "--help"], capture_output=True, text=True, cwd="/", check=True)
    assert f"Usage: {entry[0]}" in told.stdout
