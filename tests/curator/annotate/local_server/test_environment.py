"""Making and repairing Label Studio's environment: real venvs, real pip, tiny packages in the place of its own."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from curator.annotate.local_server import environment
from curator.annotate.local_server.environment import VERSION, NoLabelStudio, ensure_environment


def wheel(folder: Path, name: str, version: str, files: dict[str, str], more: str = "") -> None:
    """A wheel that pip takes."""
    normal = name.replace("-", "_")
    info = f"{normal}-{version}.dist-info"
    metadata = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{more}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if "__main__.py" in str(files):
        metadata[f"{info}/entry_points.txt"] = f"[console_scripts]\n{name} = {normal}.__main__:main\n"
    everything = files | metadata
    record = "".join(f"{path},,\n" for path in [*everything, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{normal}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in (everything | {f"{info}/RECORD": record}).items():
            archive.writestr(path, text)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's cache without an environment, and a pip that finds two tiny packages and no network."""
    packages = tmp_path / "packages"
    packages.mkdir()
    program = {"label_studio/__init__.py": "", "label_studio/__main__.py": "def main():\n    pass\n"}
    wheel(packages, "label-studio", VERSION, program, "Requires-Dist: Django\n")
    pinned = environment.CONSTRAINTS.read_text(encoding="utf-8").split("Django==")[1].split()[0]
    wheel(packages, "Django", pinned, {"django/__init__.py": ""})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(packages))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("AMATL_LABEL_STUDIO", raising=False)
    return tmp_path / "cache" / "amatl"


@pytest.mark.slow
def test_it_is_made_once_repaired_and_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []

    def progress(stage: str, done: int, total: int | None, detail: str = "") -> None:
        steps.append(detail)

    program = ensure_environment(progress)
    assert program == cache / "label-studio" / "bin" / "label-studio" and program.is_file()
    assert "label_studio" in steps and "Django" in steps
    steps.clear()
    assert ensure_environment(progress) == program and steps == []

    (program.parent.parent / "amatl-ready").unlink()  # half-made: killed before its end
    assert ensure_environment(progress) == program and "Django" in steps
    steps.clear()
    (program.parent / "python").unlink()  # broken: the Python it was made of is gone
    assert ensure_environment(progress) == program and "Django" in steps

    for module in program.parent.parent.glob("lib/python*/site-packages/django/__init__.py"):
        module.write_text("import nothing_like_this")
    assert not environment._is_ready(program.parent.parent)
    for module in program.parent.parent.glob("lib/python*/site-packages/django/__init__.py"):
        module.write_text("")
    assert environment._is_ready(program.parent.parent)

    monkeypatch.setenv("AMATL_LABEL_STUDIO", str(program.parent.parent))
    assert ensure_environment() == program


@pytest.mark.slow
def test_pip_failing_is_one_line_with_its_reason_and_the_next_start_tries_again(cache: Path, tmp_path: Path) -> None:
    (package,) = (tmp_path / "packages").glob("Django-*")
    away = package.rename(tmp_path / package.name)
    with pytest.raises(
        NoLabelStudio, match=r"pip install label-studio==.* failed: Cannot install label-studio.*label-studio\.log"
    ) as error:
        ensure_environment()
    assert "\n" not in str(error.value)
    away.rename(package)
    assert ensure_environment().is_file()


def test_a_folder_that_is_no_environment_is_left_alone(cache: Path) -> None:
    (cache / "label-studio").mkdir(parents=True)
    (cache / "label-studio" / "thesis.txt").write_text("years of work")
    with pytest.raises(NoLabelStudio, match=r"isn't a virtual environment\. Move it away"):
        ensure_environment()
    assert (cache / "label-studio" / "thesis.txt").read_text() == "years of work"


def test_a_named_environment_without_label_studio_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMATL_LABEL_STUDIO", str(tmp_path))
    with pytest.raises(NoLabelStudio, match=r"AMATL_LABEL_STUDIO=.*no working label-studio"):
        ensure_environment()
