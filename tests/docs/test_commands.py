"""Every command that Amatl prints can be given as it stands: documentation, --help, messages.

The documentation's commands are run, page by page, as a reader would; those that need what isn't here are parsed by the
real command instead, see NOT_RUN. So are the examples of --help and the commands in messages, whose names are those of
another lab.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import curator.cli
import trainer_client.cli

ROOT = Path(__file__).parents[2]
PROGRAMS = {"curator": curator.cli.main, "trainer": trainer_client.cli.main}
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs" / "pages").glob("*.md"))]
NOT_RUN = {  # A part of a command: why it is parsed and not run.
    "stable-diffusion-v1-5/": "needs the hub",
    "model=Qwen/": "needs the hub",
    "model=gpt-": "needs a cloud's key",
    "--clip openai/": "needs the hub",
    "curator annotate": "needs a Label Studio; the label_studio tier runs these",
    "curator serve": "runs until Ctrl-C; the tests of the service run it",
    "curator token": "asks for a service's machine; the tests of the service run it",
    "lab.example.org": "another host",
    "curator moved /photos": "folders of another machine",
    "curator versions": "of a service, on its page",
}
OURS = ("curator ", "trainer ")
OTHER_PROGRAMS = ("make ", "docker ", "source ", "tensorboard ", "rm ", "export ", "pip ", "accelerate ", "torchrun ")
BASE = "examples/mini/sd --epochs 1 --save-epochs 1 --seeds 1 --sample-steps 1 --eval-timesteps 1 --learning-rate 1e-4"
SETS = (
    "curator caption mine --strategy template --set template -o 'template=${title}, ${year}, oil painting'",
    "curator caption mine --strategy column --set human --by ana -o column=title",
    "curator commit mine/template -m first",
    "curator commit mine/human -m first",
)
LAB = ("curator init", "curator ingest photos --dataset mine --metadata about.csv --join-on file_name", *SETS)
RUNS = (
    *LAB,
    "curator snapshot template@1 human@1 --out snapshots/mine --holdout 2",
    f"trainer train snapshots/mine --captions template --base {BASE} --out runs/template",
    f"trainer train snapshots/mine --captions human --method lora --base {BASE} --out runs/lora",
)
BEFORE = {  # What the reader of a page has done by then: (page, beginning of a command) -> commands.
    ("curating", "curator replace"): SETS,
    ("captioning", "curator caption mine --strategy template"): LAB[:2],
    ("captioning", "curator caption mine --strategy compose"): SETS[1:2],
    ("captioning", "curator compare"): SETS[2:],
    ("comparing", "trainer compare"): RUNS,
    ("training", "trainer merge"): RUNS,
    ("service", "curator prune"): LAB,
}


def blocks(text: str) -> Iterator[str]:
    """Yield the lines of a page's code blocks, continued ones joined; of a console those that begin with a prompt."""
    joined = text.replace("\\\n", " ")
    for fenced in re.findall(r"^```console\n(.*?)^```", joined, re.DOTALL | re.MULTILINE):
        yield from (line[2:] for line in fenced.splitlines() if line.startswith("$ "))
    outside = re.sub(r"^```.*?^```", "", joined, flags=re.DOTALL | re.MULTILINE)
    yield from (line.strip() for line in outside.splitlines() if line.startswith("    "))


def commands_of(page: Path, without: str = "") -> list[str]:
    """Return a page's commands, without comments; not those of the section `without`."""
    text = page.read_text(encoding="utf-8")
    before, _, after = text.partition(without) if without else (text, "", "")
    text = before + "\n## " + after.partition("\n## ")[2] if after else text
    lines = [re.sub(r"\s+#\s.*", "", line) for line in blocks(text)]
    return [line for line in lines if line.startswith((*OURS, *OTHER_PROGRAMS))]


def parse(words: list[str]) -> None:
    """Have the real command parse its arguments; a command alone, or with --help, is one that exists."""
    program, *arguments = words
    command: click.Command = PROGRAMS[program]
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        name, *arguments = arguments
        found = command.get_command(click.Context(command), name)
        assert found is not None, f"{program}: there is no command {name}"
        command = found
    if arguments and "--help" not in arguments and arguments != ["..."]:
        command.make_context(program, arguments)


def in_words(text: str) -> list[str]:
    return [word for word in shlex.split(text) if word != "\\"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_pages_commands_are_parsed(page: Path) -> None:
    for command in commands_of(page):
        words = in_words(command)
        if words[0] in PROGRAMS:
            parse(words)
        elif words[0] in ("accelerate", "torchrun") and "trainer_client" in words:
            parse(["trainer", *words[words.index("trainer_client") + 1 :]])
        elif words[0] == "make":
            targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            assert set(words) - {"make", "&&"} <= set(targets)
        elif words[:2] == ["docker", "compose"] and "run" in words:
            parse(words[words.index("--rm") + 1 :])


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_pages_commands_run_one_after_the_other(page: Path, tmp_path: Path) -> None:
    make_lab(tmp_path)
    for command in commands_of(page, without="## The demo's commands"):  # `make demo` runs those.
        if not command.startswith(OURS) or any(part in command for part in NOT_RUN):
            continue
        for (stem, beginning), commands in BEFORE.items():
            if stem == page.stem and command.startswith(beginning):
                for each in commands:
                    run(each, tmp_path)
        if page.stem == "README" and command.startswith("trainer compare"):
            run(f"trainer train snapshots/mine --base {BASE} --out runs/template", tmp_path)
        run(command, tmp_path)


def make_lab(folder: Path) -> None:
    """What the reader has: images, a table about them, and the examples."""
    images = sorted((ROOT / "examples" / "openmoji" / "images").glob("*.png"))[:12]
    rows = ["file_name,title,year,license"]
    for images_folder in (folder / "photos", folder / "pictures"):
        images_folder.mkdir()
        for number, image in enumerate(images):
            name = "fox.png" if number == 0 else image.name
            shutil.copy(image, images_folder / name)
            if images_folder.name == "photos":
                rows.append(f"{name},{image.stem.partition('-')[2]},{1900 + number},CC0")
    (folder / "about.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / "examples").symlink_to(ROOT / "examples")


def run(command: str, folder: Path) -> None:
    """Give a command as a reader would, in a shell."""
    surroundings = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(folder),
        "CURATOR_CATALOG": "lab.duckdb",
        "AMATL_CACHE": str(folder / "cache"),
    }
    with_tokenizer = ("curator check", "curator compare", "curator stats")
    if command.startswith(with_tokenizer) and "--tokenizer" not in command:
        command += " --tokenizer examples/mini/sd"  # The default one is the hub's.
    made = subprocess.run(["bash", "-c", command], cwd=folder, env=surroundings, capture_output=True, text=True)
    assert made.returncode == 0, f"{command}\n{made.stdout}{made.stderr}"


def test_the_readme_shows_the_demos_commands(tmp_path: Path) -> None:
    for program in PROGRAMS:
        fake = tmp_path / program
        fake.write_text(f"#!/bin/bash\nprintf '%s\\0' {program} \"$@\" >> $LOG; printf '\\n' >> $LOG\n")
        fake.chmod(0o755)
    log = tmp_path / "log"
    surroundings = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "LOG": str(log), "OUT": "demo"}
    script = (ROOT / "examples" / "demo.sh").read_text().replace('cd "$(dirname "$0")/.."', f"cd {tmp_path}")
    subprocess.run(["bash", "-c", script], env=surroundings, check=True, capture_output=True)
    real = [line.split("\0")[:-1] for line in log.read_text().splitlines()]
    section = (ROOT / "README.md").read_text().partition("## The demo's commands")[2].partition("\n## ")[0]
    shown = [in_words(line) for line in blocks(section) if line.startswith(tuple(PROGRAMS))]
    assert len(shown) == 8
    for words in shown:
        assert words in real or [*words[:2], "demo/runs/*", *words[3:]] == words, words


def help_examples() -> Iterator[tuple[str, str]]:
    def walk(command: click.Command, name: str) -> Iterator[tuple[str, str]]:
        if isinstance(command, click.Group):
            for sub in command.list_commands(click.Context(command)):
                found = command.get_command(click.Context(command), sub)
                assert found is not None
                yield from walk(found, f"{name} {sub}")
        text = (command.help or "").partition("Example:")[2].replace("\\\n", " ")
        for line in text.splitlines():
            if line.strip().startswith(tuple(PROGRAMS)):
                yield name, line.strip()

    for name, main in PROGRAMS.items():
        yield from walk(main, name)


def test_the_examples_of_help_are_parsed() -> None:
    examples = list(help_examples())
    assert len(examples) > 40
    assert not refused(examples)


def refused(commands: Iterable[tuple[str, str]]) -> list[str]:
    """Return those that the real command doesn't take, with where they stand and why."""
    found = []
    for place, command in commands:
        try:
            parse(in_words(command))
        except (click.ClickException, AssertionError, ValueError) as error:
            found.append(f"{place}: {command}: {error}")
    return found


def messages() -> Iterator[tuple[str, str]]:
    """Yield the commands in the programs' texts; a value that is known only then is `1`."""
    pattern = re.compile(r"`((?:curator|trainer) [a-z][^`]*)`|(?:: |Next: |\n)((?:curator|trainer) [a-z][^\n]*)")
    for folder in ("curator", "trainer_client", "schemas"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            docs = {id(node.body[0].value) for node in ast.walk(tree) if is_documented(node)}
            parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
            for node in ast.walk(tree):
                if id(node) in docs or id(node) in parts:
                    continue
                text = text_of(node)
                for match in pattern.finditer(text or ""):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", (match[1] or match[2]).strip().rstrip(".,;)")  # type: ignore[attr-defined]


def is_documented(node: ast.AST) -> bool:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return isinstance(node, kinds) and ast.get_docstring(node) is not None


def text_of(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "1" for part in node.values)  # type: ignore[misc]
    return None


def test_the_commands_in_messages_are_parsed() -> None:
    found = list(messages())
    assert len(found) > 40
    assert not refused(found)


def test_the_next_step_runs_as_it_is_printed_until_there_is_a_snapshot(tmp_path: Path) -> None:
    """From another folder and with the catalog named on the command line, as a new user might."""
    make_lab(tmp_path)
    catalog = str(tmp_path / "my lab.duckdb")
    shown = curator_says(["init", catalog])
    (command,) = next_commands(shown)
    command = command.replace("FOLDER", str(tmp_path / "photos")).replace("NAME", "zoo")
    table = f" --metadata {tmp_path / 'about.csv'} --join-on file_name"
    shown = curator_says(in_words(command + table)[1:])
    for stage in ("caption", "commit"):
        (command,) = next_commands(shown)
        assert in_words(command)[:2] == ["curator", stage]
        shown = curator_says(in_words(command)[1:])
    out = tmp_path / "snapshots" / "zoo"
    shown = curator_says(["snapshot", "template@1", "--out", str(out), "--holdout", "2", "--catalog", catalog])
    (command,) = next_commands(shown)
    assert in_words(command)[:3] == ["trainer", "check", str(out)]
    parse(in_words(command))


def curator_says(arguments: list[str]) -> str:
    made = CliRunner().invoke(PROGRAMS["curator"], arguments)
    assert made.exit_code == 0, f"{arguments}\n{made.output}"
    return made.stdout


def next_commands(text: str) -> list[str]:
    return [line.removeprefix("Next: ") for line in text.splitlines() if line.startswith("Next: ")]
