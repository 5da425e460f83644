"""Install Label Studio in a virtual environment of its own: its many exact pins conflict with ours.

$AMATL_LABEL_STUDIO names an existing environment, which is left as it is. Otherwise one is made in the user's cache,
once for all catalogs; a half-made or broken one is made anew.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from schemas.edge import progress_bar
from schemas.edge.lock import one_at_a_time
from schemas.errors import AmatlError
from schemas.progress import Progress, silent

VERSION = "1.23.2"
CONSTRAINTS = Path(__file__).parent / "label-studio.txt"
VARIABLE = "AMATL_LABEL_STUDIO"
READY = "amatl-ready"  # written last: its content is what was installed


class NoLabelStudio(AmatlError):
    """Label Studio can't be installed or run."""


def environment_folder() -> Path:
    """Return $AMATL_LABEL_STUDIO, else amatl/label-studio in the user's cache folder."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "amatl" / "label-studio"


def ensure_environment(progress: Progress = silent) -> Path:
    """Return the program `label-studio`. Make or repair its environment first (about two minutes of pip, 1 GB).

    Raise NoLabelStudio with pip's error and the path of its log.
    """
    folder = environment_folder()
    if os.environ.get(VARIABLE):
        return _given(folder)
    waiting = partial(progress, "installing Label Studio", 0, None, "another process is at it: waiting")
    with one_at_a_time(folder.with_name(f"{folder.name}.lock"), waiting):
        if not _is_ready(folder):
            _make(folder, progress)
    return _program(folder)


def discard_environment() -> bool:
    """Mark our environment as broken, so that it is made anew. Return False if it isn't ours."""
    if os.environ.get(VARIABLE):
        return False
    (environment_folder() / READY).unlink(missing_ok=True)
    return True


def _given(folder: Path) -> Path:
    found = _installed(folder)
    if found is None:
        raise NoLabelStudio(
            f"{VARIABLE}={folder}: there is no working label-studio in it. "
            f"Name another environment, or unset {VARIABLE} to have one made."
        )
    return _program(folder)


def _is_ready(folder: Path) -> bool:
    try:
        mark = (folder / READY).read_text(encoding="utf-8").strip()
    except OSError:
        return False
    return mark == VERSION and _installed(folder) == VERSION


def _installed(folder: Path) -> str | None:
    """Return the version of label-studio in an environment, or None if its Python or the package is broken."""
    question = "from importlib.metadata import version; import django; print(version('label-studio'))"
    try:
        asked = subprocess.run([_python(folder), "-c", question], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return asked.stdout.strip() if asked.returncode == 0 and _program(folder).is_file() else None


def _make(folder: Path, progress: Progress) -> None:
    """Make a fresh environment in `folder`. Replace what is there only if it is a virtual environment."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "pyvenv.cfg").exists():
        raise NoLabelStudio(f"{folder}: this folder isn't a virtual environment. Move it away, then start again.")
    progress("installing Label Studio", 0, None, "once, about two minutes")
    shutil.rmtree(folder, ignore_errors=True)
    log = folder.with_name(f"{folder.name}.log")
    with log.open("w", encoding="utf-8") as out:
        made = subprocess.run([sys.executable, "-m", "venv", str(folder)], stdout=out, stderr=subprocess.STDOUT)
    if made.returncode:
        raise _failure("python -m venv", log)
    if _install(folder, log, progress):
        raise _failure(f"pip install label-studio=={VERSION}", log)
    if _installed(folder) != VERSION:
        raise NoLabelStudio(f"label-studio was installed but doesn't run. See {log}, then start again.")
    (folder / READY).write_text(f"{VERSION}\n", encoding="utf-8")


def _install(folder: Path, log: Path, progress: Progress) -> int:
    """Run pip and return its exit status. Each package it names is a step of progress."""
    wanted = [line for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines() if "==" in line]
    command = [
        *(str(_python(folder)), "-m", "pip", "install", "--no-input", "--disable-pip-version-check"),
        *("--progress-bar", "off", "--constraint", str(CONSTRAINTS), f"label-studio=={VERSION}"),
    ]
    seen: set[str] = set()
    with log.open("a", encoding="utf-8") as out, _running(command) as pip:
        assert pip.stdout
        for line in pip.stdout:
            out.write(line)
            if match := re.match(r"(?:Collecting |Processing .*/)([A-Za-z0-9_.-]+?)(?=[=<>~!; ([]|-[0-9]|$)", line):
                seen.add(match[1])
                progress("installing Label Studio", min(len(seen), len(wanted)), len(wanted) + 1, match[1])
            elif line.startswith("Installing collected"):
                progress("installing Label Studio", len(wanted), len(wanted) + 1, "unpacking, half a minute")
        status = pip.wait()
    if not status:
        progress("installing Label Studio", len(wanted) + 1, len(wanted) + 1, "")
    return status


@contextmanager
def _running(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Run a process that ends with us, also on Ctrl-C."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
        assert process.stdout
        process.stdout.close()


def _failure(step: str, log: Path) -> NoLabelStudio:
    said = log.read_text(encoding="utf-8")
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    reason = errors[0] if errors else lines[-1] if lines else "it said nothing"
    if "Failed to establish a new connection" in said or "NewConnectionError" in said:
        reason = "no package index could be reached; is there a network, a proxy to be set (HTTPS_PROXY)?"
    return NoLabelStudio(f"{step} failed: {reason.rstrip('.')}. All it said is in {log}. Mend that, then start again.")


def _python(folder: Path) -> Path:
    return folder / "bin" / "python"


def _program(folder: Path) -> Path:
    return folder / "bin" / "label-studio"


def main() -> None:
    """Make or repair the environment: `python -m curator.annotate.local_server.environment`, for tests and images."""
    with progress_bar() as progress:
        program = ensure_environment(progress)
    sys.stdout.write(f"{program}\n")


if __name__ == "__main__":
    main()
