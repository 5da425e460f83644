"""Label Studio's API: projects, tasks, predictions, people, webhooks, by label-studio-sdk over `Http`.

Lists of tasks alone are requested and read here, without the SDK: the reasons stand at `_tasks`.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from curator.annotate.label_studio.http import Http, LabelStudioFailed, NotThere, Uncertain

if TYPE_CHECKING:
    from label_studio_sdk.core.request_options import RequestOptions
    from label_studio_sdk.types.all_roles_project_list import AllRolesProjectList
    from label_studio_sdk.types.lse_project_response import LseProjectResponse
    from label_studio_sdk.types.webhook import Webhook

TIMEOUT_SECONDS = 60.0
IMPORT_TIMEOUT_SECONDS = 300.0
PAGE = 500
IDS_A_REQUEST = 200
REMOVED_THERE = "Deleted"  # Label Studio's login of everybody who was removed
TIME_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"  # to the letter: anything else in a filter is a 500
Condition = tuple[str, str, Any, str]  # field, operator, value, type: as Label Studio's filters name them


class LabelStudio:
    """A connection to one Label Studio; a context manager. Times are seconds. Calls raise LabelStudioFailed."""

    def __init__(
        self,
        url: str,
        token: str,
        timeout: float = TIMEOUT_SECONDS,
        import_timeout: float = IMPORT_TIMEOUT_SECONDS,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        try:
            # Here: the service's pages import this module, and its extra doesn't bring the SDK. The base class: the
            # SDK's own `LabelStudio` loads pandas, which takes 1.2 s and 100 MB more (tests/bench/LOG.md).
            from label_studio_sdk.base_client import LabelStudioBase
        except ImportError as error:
            message = f"Label Studio at {url} is spoken to by label-studio-sdk. Run: pip install 'amatl[label-studio]'"
            raise LabelStudioFailed(message) from error
        self.url, self.pause, self.token = url.rstrip("/"), pause, token.strip()
        self._http = Http(self.url, self.token, timeout, pause)
        # Http signs the requests and repeats them; the SDK would repeat an import that may have arrived.
        self._sdk = LabelStudioBase(base_url=self.url, api_key="", httpx_client=self._http, max_retries=0)
        self._import: RequestOptions = {"timeout": import_timeout}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    # Projects

    def project(self, project_id: int) -> LseProjectResponse:
        """Return a project with its settings. Raise NotThere."""
        found: LseProjectResponse = self._sdk.projects.get(project_id)
        return found

    def projects_titled(self, title: str) -> list[AllRolesProjectList]:
        """Return the projects whose title contains `title`: id, title, description."""
        found: list[AllRolesProjectList] = []
        for number in itertools.count(1):  # not by the SDK's pager: it asks on until a 404
            page = self._sdk.projects.list(
                title=title, include="id,title,description", page_size=100, page=number
            ).response
            found += page.results
            if not page.next:
                break
        return found

    def create_project(self, settings: Mapping[str, Any]) -> int:
        """Make a project; return its id. Raise Uncertain if it may have been made."""
        return int(self._sdk.projects.create(**settings).id)

    def update_project(self, project_id: int, settings: Mapping[str, Any]) -> None:
        """Change settings of a project."""
        self._sdk.projects.update(project_id, **settings)

    # Tasks

    def import_tasks(self, project_id: int, tasks: Sequence[Mapping[str, Any]]) -> list[int]:
        """Add tasks with their predictions. Return their ids in that order. Raise Uncertain if they may be there."""
        # As dicts, which the SDK takes as well as its models: building a model of each task is work for nothing.
        answer = self._sdk.projects.import_tasks(
            project_id, request=tasks, return_task_ids=True, request_options=self._import
        )
        ids = answer.task_ids
        if not isinstance(ids, list) or len(ids) != len(tasks):
            raise Uncertain(f"Label Studio at {self.url} took {len(tasks)} tasks and told the ids of {len(ids or [])}.")
        return [int(task_id) for task_id in ids]

    def import_predictions(self, project_id: int, predictions: Sequence[Mapping[str, Any]]) -> None:
        """Add predictions to tasks (each names its `task`). Raise Uncertain if they may be there."""
        self._sdk.projects.import_predictions(project_id, request=predictions, request_options=self._import)

    def update_task(self, task_id: int, data: Mapping[str, Any]) -> None:
        """Replace the data of a task. Raise NotThere."""
        self._sdk.tasks.update(str(task_id), data=dict(data))

    def delete_tasks(self, project_id: int, task_ids: Sequence[int]) -> None:
        """Delete tasks with everything on them."""
        selected: Any = {"all": False, "included": list(task_ids)}
        self._sdk.actions.create(id="delete_tasks", project=project_id, selected_items=selected)

    def totals(self, project_id: int) -> dict[str, int]:
        """Return a project's number of tasks (`total`), `total_annotations` without skips, and `total_predictions`."""
        answer = self._tasks(project_id, "id", {}, 1)
        return {key: int(answer[key]) for key in ("total", "total_annotations", "total_predictions")}

    def newest_change(self, project_id: int) -> str | None:
        """Return the time of the last change to any task, as Label Studio writes it. None without tasks."""
        answer = self._tasks(project_id, "id,updated_at", {"ordering": ["-tasks:updated_at"]}, 1)
        return str(answer["tasks"][0]["updated_at"]) if answer["tasks"] else None

    def count(self, project_id: int, *conditions: Condition) -> int:
        """Return the number of tasks that match all conditions."""
        return int(self._tasks(project_id, "id", where(*conditions), 1)["total"])

    def tasks(
        self, project_id: int, include: str, *conditions: Condition, page_size: int = PAGE
    ) -> Iterator[list[dict[str, Any]]]:
        """Yield the tasks that match all conditions, page by page, ordered by id.

        Each page begins after the last id seen, so no task is missed if others come and go meanwhile.
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

    def tasks_by_id(self, project_id: int, task_ids: Sequence[int], include: str) -> Iterator[list[dict[str, Any]]]:
        """Yield these tasks, some at a time, without those that no longer exist."""
        for first in range(0, len(task_ids), IDS_A_REQUEST):
            some = list(task_ids[first : first + IDS_A_REQUEST])
            yield from self.tasks(project_id, include, ("id", "in_list", some, "Number"))

    def tasks_since(
        self, project_id: int, include: str, since: str, page_size: int = PAGE
    ) -> Iterator[list[dict[str, Any]]]:
        """Yield the tasks that changed at or after `since`, oldest change first, page by page.

        Each page is asked for from the last time seen: tasks that change meanwhile move to the end and are read there.
        A task at the seam of two pages comes twice; none is missed.
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
        """Return one page of tasks. A page past the end, a 404 in Label Studio, is empty.

        Not by the SDK's `tasks.list`: its model fills in what is absent, so that a task listed without its annotations
        would look like one whose annotations were deleted, and it turns times into datetimes, where filters want them
        to the letter. It also takes 7 times as long to read a page of 500, 60 ms more (tests/bench/LOG.md).
        """
        params: dict[str, str | int] = {
            "project": project_id,
            "fields": "all",
            "include": include,
            "page_size": page_size,
            "page": page,
            "query": json.dumps(query),
        }
        try:
            return dict(self._http.get("/api/tasks", params=params).json())
        except NotThere:
            if page == 1:
                raise
            return {"tasks": [], "total": 0}

    # People and webhooks

    def people(self) -> dict[int, str]:
        """Return users' logins by id, without removed users: Label Studio calls all of them the same."""
        users = self._sdk.users.list()
        logins = {user.id: user.email or user.username or "" for user in users}
        return {number: login for number, login in logins.items() if login not in ("", REMOVED_THERE)}

    def webhooks(self, project_id: int) -> list[Webhook]:
        """Return a project's webhooks."""
        found: list[Webhook] = self._sdk.webhooks.list(project=str(project_id))
        return found

    def add_webhook(self, project_id: int, url: str, headers: Mapping[str, str], actions: Sequence[Any]) -> int:
        """Add a webhook for `actions`, without their content; return its id."""
        made: Webhook = self._sdk.webhooks.create(
            project=project_id,
            url=url,
            headers=dict(headers),
            send_payload=False,
            send_for_all_actions=False,
            actions=actions,
        )
        assert made.id is not None
        return made.id

    def delete_webhook(self, webhook_id: int) -> None:
        """Delete a webhook, if it still exists."""
        with suppress(NotThere):
            self._sdk.webhooks.delete(webhook_id)


def where(*conditions: Condition) -> dict[str, Any]:
    """Return a query for the tasks that match all conditions."""
    items = [
        {"filter": f"filter:tasks:{field}", "operator": operator, "value": value, "type": kind}
        for field, operator, value, kind in conditions
    ]
    return {"filters": {"conjunction": "and", "items": items}}
