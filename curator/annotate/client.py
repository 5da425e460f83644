"""Label Studio over HTTP: every failure is one line that says what to do; what may be asked twice is asked again.

Plain HTTP, not the SDK's client: building that takes 1.6 s and its pager takes any 404 for the end of the list. A
request that does the same when sent twice is tried again after a dropped connection, a time-out or a 5xx. One that adds
rows (an import) never is: where nobody can tell whether it arrived, `Uncertain` is raised and the caller looks first.

The token is either kind: a legacy one is sent as it is; a personal access token (a JWT) is exchanged for access tokens
that live five minutes. Neither ever stands in a message.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from schemas.errors import AmatlError

if TYPE_CHECKING:
    import httpx

TIMEOUT_SECONDS = 60.0
IMPORT_TIMEOUT_SECONDS = 300.0
ATTEMPTS = 5
FIRST_PAUSE_SECONDS = 0.5
PAGE = 500
REMOVED_THERE = "Deleted"  # what Label Studio calls everybody who was removed, instead of their login
ACCESS_TOKEN_SECONDS = 240  # of the 300 it lives
Condition = tuple[str, str, Any, str]  # field, operator, value, type: as Label Studio's filters name them
TIME_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"  # to the letter: anything else is a 500 in a filter


class LabelStudioFailed(AmatlError):
    """Label Studio failed. Look at its log, then run the same command again: it goes on from there."""


class Unreachable(LabelStudioFailed):
    """Label Studio doesn't answer. Is it running? Start one with: curator annotate start"""


class TokenRefused(LabelStudioFailed):
    """Label Studio refuses the token. Set LABEL_STUDIO_API_KEY to a valid one (Account & Settings, Access Token)."""


class NotThere(LabelStudioFailed):
    """Label Studio has no such thing any more."""


class Refused(LabelStudioFailed):
    """Label Studio refuses the request."""


class Uncertain(LabelStudioFailed):
    """Nobody can tell whether Label Studio took the request. Run the same command again: it looks first."""


class LabelStudio:
    """A connection to one Label Studio; a context manager. Times are seconds."""

    def __init__(
        self,
        url: str,
        token: str,
        timeout: float = TIMEOUT_SECONDS,
        import_timeout: float = IMPORT_TIMEOUT_SECONDS,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        import httpx

        self.url = url.rstrip("/")
        self.timeout, self.import_timeout, self.pause = timeout, import_timeout, pause
        self._token = token.strip()
        self._access: tuple[str, float] | None = None
        self._http = httpx.Client(base_url=self.url, trust_env=not _is_here(self.url), timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    # Projects

    def project(self, project_id: int) -> dict[str, Any]:
        """A project with its settings. Raises NotThere."""
        return dict(self._ask("GET", f"/api/projects/{project_id}"))

    def projects_titled(self, title: str) -> list[dict[str, Any]]:
        """Projects whose title contains `title`: id, title, description."""
        found: list[dict[str, Any]] = []
        for page in itertools.count(1):
            params = {"title": title, "include": "id,title,description", "page_size": 100, "page": page}
            answer = self._ask("GET", "/api/projects/", params=params)
            found += answer["results"]
            if not answer.get("next"):
                break
        return found

    def create_project(self, settings: Mapping[str, Any]) -> int:
        """Makes a project; returns its id. Raises Uncertain where it may have been made."""
        return int(self._ask("POST", "/api/projects/", settings, once=True)["id"])

    def update_project(self, project_id: int, settings: Mapping[str, Any]) -> None:
        """Changes settings of a project."""
        self._ask("PATCH", f"/api/projects/{project_id}", settings)

    # Tasks

    def import_tasks(self, project_id: int, tasks: Sequence[Mapping[str, Any]]) -> list[int]:
        """Adds tasks with their predictions; ids in the order given. Raises Uncertain where they may have arrived."""
        path = f"/api/projects/{project_id}/import?return_task_ids=true"
        ids = self._ask("POST", path, tasks, once=True, timeout=self.import_timeout).get("task_ids")
        if not isinstance(ids, list) or len(ids) != len(tasks):
            raise Uncertain(f"Label Studio at {self.url} took {len(tasks)} tasks and told the ids of {len(ids or [])}.")
        return [int(task_id) for task_id in ids]

    def import_predictions(self, project_id: int, predictions: Sequence[Mapping[str, Any]]) -> None:
        """Adds predictions to tasks (each names its `task`). Raises Uncertain where they may have arrived."""
        path = f"/api/projects/{project_id}/import/predictions"
        self._ask("POST", path, predictions, once=True, timeout=self.import_timeout)

    def update_task(self, task_id: int, data: Mapping[str, Any]) -> None:
        """Replaces the data of a task. Raises NotThere."""
        self._ask("PATCH", f"/api/tasks/{task_id}/", {"data": data})

    def delete_tasks(self, project_id: int, task_ids: Sequence[int]) -> None:
        """Removes tasks for good, with all that is on them."""
        params = {"id": "delete_tasks", "project": project_id}
        self._ask("POST", "/api/dm/actions", {"selectedItems": {"all": False, "included": list(task_ids)}}, params)

    def totals(self, project_id: int) -> dict[str, int]:
        """How many tasks (`total`), annotations without skips (`total_annotations`) and predictions a project has."""
        answer = self._tasks(project_id, "id", {}, 1)
        return {key: int(answer[key]) for key in ("total", "total_annotations", "total_predictions")}

    def newest_change(self, project_id: int) -> str | None:
        """When the task changed last that changed last, as Label Studio writes it; None without tasks."""
        answer = self._tasks(project_id, "id,updated_at", {"ordering": ["-tasks:updated_at"]}, 1)
        return str(answer["tasks"][0]["updated_at"]) if answer["tasks"] else None

    def count(self, project_id: int, *conditions: Condition) -> int:
        """How many tasks the conditions hold for."""
        return int(self._tasks(project_id, "id", where(*conditions), 1)["total"])

    def tasks(
        self, project_id: int, include: str, *conditions: Condition, page_size: int = PAGE
    ) -> Iterator[list[dict[str, Any]]]:
        """All tasks that the conditions hold for, page by page, ordered by id.

        Each page begins after the last id seen, so that nothing is missed where rows come and go meanwhile.
        """
        last = 0
        while True:
            query = {"ordering": ["tasks:id"], **where(*conditions, ("id", "greater", last, "Number"))}
            tasks = self._tasks(project_id, f"id,{include}", query, page_size)["tasks"]
            if tasks:
                yield tasks
                last = int(tasks[-1]["id"])
            if len(tasks) < page_size:
                return

    def tasks_since(
        self, project_id: int, include: str, since: str, page_size: int = PAGE
    ) -> Iterator[list[dict[str, Any]]]:
        """Tasks that changed at or after `since`, oldest change first, page by page.

        Each page is asked for anew from the last time seen, so that rows which move to the end meanwhile are read there
        and none is missed; a task at the seam of two pages comes twice.
        """
        page = 1
        while True:
            query = {"ordering": ["tasks:updated_at"], **where(("updated_at", "greater_or_equal", since, "Datetime"))}
            tasks = self._tasks(project_id, f"id,updated_at,{include}", query, page_size, page)["tasks"]
            if tasks:
                yield tasks
            if len(tasks) < page_size:
                return
            last = str(tasks[-1]["updated_at"])
            since, page = (since, page + 1) if last <= since else (last, 1)

    def _tasks(
        self, project_id: int, include: str, query: Mapping[str, Any], page_size: int, page: int = 1
    ) -> dict[str, Any]:
        """One page; a page past the end, which is a 404 there, is empty."""
        params = {
            "project": project_id,
            "fields": "all",
            "include": include,
            "page_size": page_size,
            "page": page,
            "query": json.dumps(query),
        }
        try:
            return dict(self._ask("GET", "/api/tasks", params=params))
        except NotThere:
            if page == 1:
                raise
            return {"tasks": [], "total": 0}

    # People and webhooks

    def people(self) -> dict[int, str]:
        """The login of each user by number, without those who were removed: all of them are called the same there."""
        users = self._ask("GET", "/api/users")
        logins = {int(user["id"]): user.get("email") or user.get("username") or "" for user in users}
        return {number: login for number, login in logins.items() if login not in ("", REMOVED_THERE)}

    def webhooks(self, project_id: int) -> list[dict[str, Any]]:
        """A project's webhooks."""
        return list(self._ask("GET", "/api/webhooks/", params={"project": project_id}))

    def add_webhook(self, project_id: int, url: str, headers: Mapping[str, str], actions: Sequence[str]) -> int:
        """Asks to be told of `actions`, without their content; returns the webhook's id."""
        settings = {
            "project": project_id,
            "url": url,
            "headers": dict(headers),
            "send_payload": False,
            "send_for_all_actions": False,
            "actions": list(actions),
        }
        return int(self._ask("POST", "/api/webhooks/", settings, once=True)["id"])

    def delete_webhook(self, webhook_id: int) -> None:
        """Takes a webhook away; one that is gone already is fine."""
        try:
            self._ask("DELETE", f"/api/webhooks/{webhook_id}/")
        except NotThere:
            return

    # How it is said

    def _ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        params: Mapping[str, Any] | None = None,
        once: bool = False,
        timeout: float | None = None,
    ) -> Any:
        """The answer as JSON (None where there is none). `once`: never sent again when it may have arrived."""
        for attempt in range(1, ATTEMPTS + 1):
            last = attempt == ATTEMPTS
            try:
                return self._answer(method, path, body, params, timeout or self.timeout)
            except _TryAgain as trouble:
                if trouble.arrived and once:
                    raise Uncertain(
                        f"{trouble.message} Nobody can tell whether it took what was sent."
                    ) from trouble.cause
                if last:
                    raise trouble.final(trouble.message) from trouble.cause
                self.pause(trouble.pause or FIRST_PAUSE_SECONDS * 2 ** (attempt - 1))
        raise AssertionError("unreachable")

    def _answer(self, method: str, path: str, body: Any, params: Mapping[str, Any] | None, timeout: float) -> Any:
        """One request. Raises _TryAgain where a second one may help, else what it comes to."""
        import httpx

        headers = {"Authorization": self._authorization()}
        try:
            response = self._http.request(method, path, json=body, params=params, headers=headers, timeout=timeout)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise _TryAgain(self._unreachable(), Unreachable, error, arrived=False) from error
        except httpx.TimeoutException as error:
            message = f"Label Studio at {self.url} gave no answer in {timeout:g} s."
            raise _TryAgain(message, Unreachable, error) from error
        except httpx.HTTPError as error:
            message = f"Label Studio at {self.url} broke the connection off."
            raise _TryAgain(message, Unreachable, error) from error
        except httpx.InvalidURL as error:
            raise Unreachable(f"{self.url}: not an address. Write it like http://localhost:8080.") from error
        if response.status_code == 401 and self._is_personal and self._access:
            self._access = None  # it may have ended early: the clock of either machine, a restart with another secret
            raise _TryAgain(self._refusal(response), TokenRefused, None, arrived=False, pause=0.01)
        if response.is_success:
            return self._json(response)
        raise self._failure(response)

    def _failure(self, response: httpx.Response) -> Exception:
        status, said = response.status_code, _said(response)
        message = f"Label Studio at {self.url} answered {status}{said and f' ({said})'}."
        if status in (401, 403):
            return TokenRefused(self._refusal(response))
        if status == 404 and not said:
            return Unreachable(f"{self.url} answers, but isn't a Label Studio. Name its address with --url.")
        if status == 404:
            return NotThere(f"{message} Run: curator annotate status")
        if status == 429:
            return _TryAgain(message, LabelStudioFailed, None, arrived=False, pause=_retry_after(response))
        if status >= 500:
            return _TryAgain(f"{message} Look at its log, then run the same command again.", LabelStudioFailed, None)
        if status in (301, 302, 307, 308):
            there = response.headers.get("location", "")
            return Unreachable(f"{self.url} sends us on to {there}. Name that address with --url.")
        if status == 409:
            return Refused(f"{message} Something else changes it at the same time: run the same command again.")
        return Refused(message)

    def _json(self, response: httpx.Response) -> Any:
        if not response.content:
            return None
        try:
            return response.json()
        except ValueError:
            raise Unreachable(f"{self.url} answers, but isn't a Label Studio. Name its address with --url.") from None

    @property
    def _is_personal(self) -> bool:
        """Whether the token is a personal access token: a JWT has three parts."""
        return self._token.count(".") == 2

    def _authorization(self) -> str:
        if not self._is_personal:
            return f"Token {self._token}"
        if self._access is None or time.monotonic() > self._access[1]:
            self._access = (self._fresh_access(), time.monotonic() + ACCESS_TOKEN_SECONDS)
        return f"Bearer {self._access[0]}"

    def _fresh_access(self) -> str:
        """A new access token for the personal one."""
        import httpx

        try:
            response = self._http.post("/api/token/refresh/", json={"refresh": self._token})
        except httpx.HTTPError as error:
            raise _TryAgain(self._unreachable(), Unreachable, error, arrived=False) from error
        if response.status_code >= 500:
            said = f"Label Studio at {self.url} answered {response.status_code} when asked for an access token."
            raise _TryAgain(said, LabelStudioFailed, None, arrived=False)
        if not response.is_success:
            raise TokenRefused(self._refusal(response))
        access = self._json(response).get("access")
        if not isinstance(access, str):
            raise TokenRefused(self._refusal(response))
        return access

    def _unreachable(self) -> str:
        return f"Label Studio at {self.url} doesn't answer. Is it running? Start one with: curator annotate start"

    def _refusal(self, response: httpx.Response) -> str:
        said = _said(response)
        return (
            f"Label Studio at {self.url} refuses the token, {response.status_code}{said and f' ({said})'}. "
            "Set LABEL_STUDIO_API_KEY to a valid one: Account & Settings in Label Studio has it."
        )


class _TryAgain(Exception):
    """A failure that may pass. `arrived`: the request may have been taken; `final`: what it is after the last try."""

    def __init__(
        self,
        message: str,
        final: type[LabelStudioFailed],
        cause: Exception | None,
        arrived: bool = True,
        pause: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message, self.final, self.cause, self.arrived, self.pause = message, final, cause, arrived, pause


def where(*conditions: Condition) -> dict[str, Any]:
    """A query on tasks that all conditions must hold for."""
    items = [
        {"filter": f"filter:tasks:{field}", "operator": operator, "value": value, "type": kind}
        for field, operator, value, kind in conditions
    ]
    return {"filters": {"conjunction": "and", "items": items}}


def _said(response: httpx.Response) -> str:
    """What Label Studio says of a failure, on one line, shortened; "" where it isn't Label Studio's own JSON."""
    try:
        told = response.json()
    except ValueError:
        return ""
    if not isinstance(told, dict):
        return ""
    parts = [str(told.get("detail") or "")]
    for field, problems in (told.get("validation_errors") or {}).items():
        parts.append(f"{field}: {problems[0] if isinstance(problems, list) and problems else problems}")
    text = " ".join(" ".join(part for part in parts if part).split()).rstrip(".")
    return text if len(text) <= 300 else f"{text[:297]}..."


def _retry_after(response: httpx.Response) -> float:
    told = response.headers.get("retry-after", "")
    return min(float(told), 60.0) if told.isdigit() else 5.0


def _is_here(url: str) -> bool:
    """Whether an address is this machine's: then no proxy of the environment is asked."""
    return urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")
