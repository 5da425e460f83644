"""One Label Studio process: its settings, when it is ready, how it stops.

Label Studio looks each setting up as LABEL_STUDIO_X, HEARTEX_X and bare X, so it gets an environment of its own: a
stray HOST, PORT, DEBUG or CI of ours would be read. Its defaults report to its makers (analytics, Sentry, a version
check); all of them are off.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from curator.annotate.local_server.environment import NoLabelStudio
from schemas.errors import AmatlError, BadOption, PortBusy
from schemas.progress import Progress, silent

FIRST_START_SECONDS = 600.0
STOP_SECONDS = 10.0
KEPT_OF_OURS = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
QUIET = {
    "LABEL_STUDIO_COLLECT_ANALYTICS": "false",
    "LABEL_STUDIO_LATEST_VERSION_CHECK": "false",
    "LABEL_STUDIO_SENTRY_DSN": "",
    "LABEL_STUDIO_FRONTEND_SENTRY_DSN": "",
    "LABEL_STUDIO_FEATURE_FLAGS_OFFLINE": "true",
}


@dataclass(frozen=True)
class Account:
    """The owner's account. `token`: 40 hex digits, used by our commands."""

    email: str
    password: str
    token: str


def settings(data_folder: Path, url: str, account: Account, database: str | None = None) -> dict[str, str]:
    """Return the process's whole environment. `database`: a postgresql:// URL, or None for SQLite in `data_folder`.

    SSRF protection is off: it would stop webhooks to this computer.
    """
    ours = {name: os.environ[name] for name in KEPT_OF_OURS if name in os.environ}
    return (
        ours
        | QUIET
        | (_postgresql(database) if database else {"LABEL_STUDIO_DJANGO_DB": "sqlite"})
        | {
            "PYTHONUNBUFFERED": "1",
            "LABEL_STUDIO_BASE_DATA_DIR": str(data_folder.resolve()),
            "LABEL_STUDIO_HOST": url,
            "LABEL_STUDIO_USERNAME": account.email,
            "LABEL_STUDIO_PASSWORD": account.password,
            "LABEL_STUDIO_USER_TOKEN": account.token,
            "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
            "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
            "LABEL_STUDIO_SSRF_PROTECTION_ENABLED": "false",
            "LABEL_STUDIO_DEBUG": "false",
        }
    )


def check_database(url: str) -> None:
    """Raise BadOption if `url` isn't postgresql://user:password@host:port/name."""
    _postgresql(url)


class LabelStudioProcess:
    """A running Label Studio. It dies with us, however we end (on Linux; elsewhere `stop` has to be called)."""

    def __init__(self, program: Path, environment: Mapping[str, str], host: str, port: int, log: Path) -> None:
        """Start it; `wait` returns once it answers. Its output goes to `log`."""
        self.log = log
        self.port = port
        self.account_email = environment["LABEL_STUDIO_USERNAME"]
        self._token = environment["LABEL_STUDIO_USER_TOKEN"]
        address = "127.0.0.1" if host == "0.0.0.0" else host
        self.local_url = f"http://{address}:{port}"
        Path(environment["LABEL_STUDIO_BASE_DATA_DIR"]).mkdir(parents=True, exist_ok=True)
        command = [str(program), "start", "--no-browser", "--internal-host", host, "--port", str(port)]
        with log.open("ab") as out:
            os.fchmod(out.fileno(), 0o600)
            self._log_start = out.tell()
            self._process = subprocess.Popen(
                command,
                env=dict(environment),
                cwd=environment["LABEL_STUDIO_BASE_DATA_DIR"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is ours to pass on
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )

    @property
    def pid(self) -> int:
        """Return the process's id, which is its group's too."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Return whether it still runs."""
        return self._process.poll() is None

    def wait(self, seconds: float = FIRST_START_SECONDS, progress: Progress = silent) -> None:
        """Wait until it accepts our token. Raise AmatlError with the end of its log if it ends or is too slow."""
        begun = time.monotonic()
        while not self._healthy():
            passed = time.monotonic() - begun
            if not self.running:
                raise self._failure("ended before it was ready")
            if b"Trying to start at" in self.said():
                raise PortBusy(f"Port {self.port} was taken while Label Studio started. Start again.")
            if passed > seconds:
                raise self._failure(f"didn't answer within {seconds:.0f} s")
            detail = "making its database, a minute or two" if b"Initializing database" in self.said() else ""
            progress("starting Label Studio", int(passed), None, detail)
            time.sleep(0.2)
        self._check_token()

    def stop(self) -> None:
        """End it and everything it started. Return when nothing is left."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def get(self, path: str, seconds: float = 30.0) -> Any:
        """Return the decoded JSON of a GET. Raise urllib.error.URLError."""
        request = urllib.request.Request(f"{self.local_url}{path}", headers={"Authorization": f"Token {self._token}"})
        with _direct.open(request, timeout=seconds) as answer:
            return json.load(answer)

    def said(self) -> bytes:
        """Return what this run has written to the log."""
        with self.log.open("rb") as file:
            file.seek(self._log_start)
            return file.read()

    def lacks_a_module(self) -> bool:
        """Return whether it ended because its environment lacks a module: the environment must be made anew."""
        words = self.said()
        return not self.running and (b"ModuleNotFoundError" in words or b"ImportError" in words)

    def _healthy(self) -> bool:
        try:
            answer = self.get("/health", 5.0)
        except (OSError, ValueError):
            return False
        return isinstance(answer, dict) and answer.get("status") == "UP"

    def _check_token(self) -> None:
        """Check that our token is valid: another Label Studio may have made the database."""
        try:
            found = self.get("/api/current-user/whoami").get("email")
        except urllib.error.HTTPError as error:
            raise AmatlError(
                f"The Label Studio in this database doesn't know our token (HTTP {error.code}): another one made it. "
                "Give a database of its own, or push to that server: --url, and its token in LABEL_STUDIO_API_KEY."
            ) from error
        if found != self.account_email:
            raise AmatlError(f"{self.local_url}: another Label Studio answers here, of {found}. Choose another --port.")

    def _failure(self, what: str) -> NoLabelStudio:
        lines = [line.strip() for line in self.said().decode(errors="replace").splitlines() if line.strip()]
        reason = (lines or ["nothing"])[-1][:300]
        return NoLabelStudio(f"Label Studio {what}. Its last words: {reason} All of them are in {self.log}.")


# Never through a proxy: it runs on this machine.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _die_with_parent() -> None:
    """End the child with its parent: prctl(PR_SET_PDEATHSIG, SIGTERM). Runs in the child, before exec."""
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _postgresql(url: str) -> dict[str, str]:
    parts = urlsplit(url)
    name = parts.path.strip("/")
    try:
        port = parts.port or 5432
    except ValueError:
        port = 0
    if parts.scheme not in {"postgresql", "postgres"} or not parts.hostname or not name or "/" in name or not port:
        raise BadOption("--database: not a PostgreSQL URL. Write postgresql://user:password@host:5432/name.")
    if parts.query:
        raise BadOption(f"--database: Label Studio takes no options in the URL; leave out ?{parts.query}.")
    return {
        "LABEL_STUDIO_DJANGO_DB": "default",
        "LABEL_STUDIO_POSTGRE_HOST": parts.hostname,
        "LABEL_STUDIO_POSTGRE_PORT": str(port),
        "LABEL_STUDIO_POSTGRE_USER": unquote(parts.username or "postgres"),
        "LABEL_STUDIO_POSTGRE_PASSWORD": unquote(parts.password or ""),
        "LABEL_STUDIO_POSTGRE_NAME": unquote(name),
    }
