"""label-studio-sdk against plain requests: the start of a client, and each call, to a server that answers at once.

So the figures are the client's own share: Label Studio itself takes about a second for a page of 500 tasks.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from statistics import median
from typing import Any

import httpx
from label_studio_sdk.base_client import LabelStudioBase

from curator.annotate.label_studio.labeling_page import labeling_config, prediction, task_data
from tests.bench.table import Row

TASKS_A_PAGE, TASKS_AN_IMPORT, ROUNDS = 500, 1_000, 15
SHA256, MOMENT = "ab" * 32, "2026-12-01T06:50:01.000123Z"
CAPTION = "a small brown dog sits on a red bench in the park, seen from the side"
STARTS = {
    "httpx alone": "import httpx; httpx.Client()",
    "the SDK's base client": "from label_studio_sdk.base_client import LabelStudioBase as C\n"
    "c = C(base_url='http://x', api_key='k'); c.projects; c.tasks; c.users; c.webhooks; c.actions",
    "the SDK's client": "from label_studio_sdk import LabelStudio as C\nc = C(base_url='http://x', api_key='k')",
}


def bench() -> list[Row]:
    """Return a row for the start of a client and one for each kind of call."""
    return [*_starts(), *_calls()]


def _starts() -> list[Row]:
    code = "import time; t = time.perf_counter()\n{}\nprint(time.perf_counter() - t)\n"
    code += "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    seconds, megabytes = {}, {}
    for name, start in STARTS.items():
        runs = [subprocess.check_output([sys.executable, "-c", code.format(start)], text=True) for _ in range(5)]
        seconds[name] = median(float(run.split()[0]) for run in runs)
        megabytes[name] = median(int(run.split()[1]) for run in runs) / 1024
    plain = seconds.pop("httpx alone")
    start = f"{plain:.2f} s, {megabytes['httpx alone']:.0f} MB alone"
    return [
        Row(f"start of {name}", "httpx alone", plain / took, f"{took:.2f} s, {megabytes[name]:.0f} MB; {start}")
        for name, took in seconds.items()
    ]


def _calls() -> list[Row]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    tasks = [{"data": _task(n)["data"], "predictions": [_proposal()]} for n in range(TASKS_AN_IMPORT)]
    proposals = [{"task": n, **_proposal()} for n in range(TASKS_AN_IMPORT)]
    query = {"project": 1, "fields": "all", "include": "id", "query": "{}", "page_size": TASKS_A_PAGE}
    try:
        with httpx.Client(base_url=url, trust_env=False) as http:
            sdk = LabelStudioBase(base_url=url, api_key="k", httpx_client=http, max_retries=0)
            return [
                _row("a project", lambda: http.get("/api/projects/1/").json(), lambda: sdk.projects.get(1)),
                _row(
                    "change a task",
                    lambda: http.patch("/api/tasks/1/", json={"data": tasks[0]["data"]}).json(),
                    lambda: sdk.tasks.update("1", data=tasks[0]["data"]),
                ),
                _row(
                    f"import of {TASKS_AN_IMPORT:,} tasks",
                    lambda: http.post("/api/projects/1/import", json=tasks).json(),
                    lambda: sdk.projects.import_tasks(1, request=tasks, return_task_ids=True),
                ),
                _row(
                    f"import of {TASKS_AN_IMPORT:,} predictions",
                    lambda: http.post("/api/projects/1/import/predictions", json=proposals).json(),
                    lambda: sdk.projects.import_predictions(1, request=proposals),
                ),
                _row(
                    f"a page of {TASKS_A_PAGE} tasks",
                    lambda: http.get("/api/tasks/", params=query).json(),
                    lambda: sdk.tasks.list(**query),
                ),
            ]
    finally:
        server.shutdown()
        server.server_close()


def _row(name: str, plain: Callable[[], Any], by_sdk: Callable[[], Any]) -> Row:
    """Measure both in turn."""
    seconds: list[tuple[float, float]] = []
    for _ in range(ROUNDS + 1):
        start = time.perf_counter()
        plain()
        middle = time.perf_counter()
        by_sdk()
        seconds.append((middle - start, time.perf_counter() - middle))
    alone, sdk = (median(times) * 1000 for times in zip(*seconds[1:], strict=True))  # the first one connects, imports
    return Row(f"{name} by the SDK", "httpx and json", alone / sdk, f"{sdk:.1f} ms; {alone:.1f} ms alone")


def _proposal() -> dict[str, Any]:
    return prediction(CAPTION, "zoo/blip@1")


def _task(number: int) -> dict[str, Any]:
    """Return a task as Label Studio's list of tasks has it, with one annotation."""
    preview = f"http://localhost:8081/previews/{SHA256}.jpg?expires=1790000000&signature={SHA256}"
    box = {"id": "a", "from_name": "final_caption", "to_name": "image", "type": "textarea", "origin": "prediction"}
    annotation = {
        "id": number,
        "result": [box | {"value": {"text": [CAPTION]}}],
        "completed_by": 1,
        "updated_by": 1,
        "was_cancelled": False,
        "created_at": MOMENT,
        "updated_at": MOMENT,
        "lead_time": 3.2,
        "parent_prediction": number,
    }
    return {
        "id": number,
        "updated_at": MOMENT,
        "data": task_data(preview, SHA256, "zoo", "a.png", {"artist": "b", "year": "1990"}, {"template": "a dog"}),
        "annotations": [annotation],
        "predictions": [_proposal() | {"id": number, "created_at": MOMENT}],
    }


class _Answers(BaseHTTPRequestHandler):
    """Answers at once with what was made before, in one packet where it is short."""

    protocol_version = "HTTP/1.1"
    project = json.dumps({"id": 1, "title": "zoo", "description": "d", "label_config": labeling_config()}).encode()
    page = json.dumps({"tasks": [_task(number) for number in range(TASKS_A_PAGE)], "total": TASKS_A_PAGE}).encode()
    imported = json.dumps({"task_ids": list(range(TASKS_AN_IMPORT))}).encode()

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        parts = self.path.partition("?")[0].strip("/").split("/")
        body = {"import": self.imported, "tasks": self.page}.get(parts[-1], self.project)
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.wfile.write(head.encode() + body)

    do_GET = do_POST = do_PATCH = _answer
