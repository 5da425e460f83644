"""A round of annotation for tests: a catalog with pictures and proposals, and people who answer by Label Studio's API.

`Round` is a lab whose dataset `zoo` is pushed to a real server; answers are what its page would send.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from curator.annotate.label_studio.client import LabelStudio
from curator.annotate.label_studio.project import record_of
from curator.annotate.pull.revisions import Rule
from curator.annotate.pull.run import PullResult, pull
from curator.annotate.push.run import PushResult, push
from curator.caption_sets.versions import commit
from curator.catalog import Catalog
from curator.catalog.captions import CaptionRun
from schemas.digest import sha256_json
from tests.curator.annotate.live.server import Server
from tests.curator.lab import Lab

IMAGES_URL = "http://127.0.0.1:1"  # nobody looks


class Round:
    """A catalog with `images` pictures, `blip@1` committed, and a Label Studio to refine them into `human`."""

    def __init__(self, folder: Path, server: Server, images: int = 6, url: str | None = None) -> None:
        folder.mkdir(exist_ok=True)
        self.server, self.folder = server, folder
        self.lab = Lab(folder)
        self.images = [self.lab.add(f"{number:05}.png", number, {"legs": number % 4}) for number in range(images)]
        self.catalog: Catalog = self.lab.write()
        self.title = f"zoo {folder.parent.name} {folder.name}"
        self.client = LabelStudio(url or server.url, server.token)
        self.propose("blip", {image: f"a beast, number {n}" for n, image in enumerate(self.images)})

    def close(self) -> None:
        """Lets go of everything; the project there stays."""
        self.client.__exit__()
        self.lab.close()

    def reopen(self) -> None:
        """Takes the catalog up again after `self.catalog.close()`."""
        self.catalog = self.lab.catalog = Catalog(self.folder / "lab.duckdb")

    def propose(self, set_name: str, captions: Mapping[str, str | None]) -> None:
        """A new version of a set."""
        facts = {"dataset": "zoo", "set_name": set_name, "strategy": set_name, "strategy_version": 1, "options": {}}
        run = CaptionRun.model_validate(facts | {"run_id": self.catalog.reserve_caption_run(), "person": "ana"})
        rows = [
            {"image_sha256": image, "text": text, "inputs_digest": sha256_json(text)}
            for image, text in captions.items()
        ]
        frame = pl.DataFrame(rows).with_columns(parent_id=pl.lit(None, pl.Int64), text=pl.col("text").cast(pl.String))
        self.catalog.add_captions(run, frame)
        commit(self.catalog, f"zoo/{set_name}", "next")

    def push(self, source: str = "blip", **how: Any) -> PushResult:
        """Pushes to our project."""
        how = {"title": self.title, "person": "me"} | how
        return push(self.catalog, how.pop("client", self.client), "zoo", source, "human", IMAGES_URL, **how)

    @property
    def record(self) -> dict[str, Any]:
        """Our project as the catalog has it."""
        found = record_of(self.catalog, "zoo", "human", self.title)
        assert found is not None
        return found

    @property
    def number(self) -> int:
        """Our project's number there."""
        return int(self.record["label_studio_id"])

    def pull(self, rule: str | None = None, client: LabelStudio | None = None) -> PullResult:
        """Pulls our project."""
        return pull(self.catalog, client or self.client, self.record, Rule.parse(rule) if rule else None, "me")

    def tasks(self) -> dict[str, dict[str, Any]]:
        """What is there, by image: a double fails."""
        found: dict[str, dict[str, Any]] = {}
        for page in self.client.tasks(self.number, "data,predictions,total_annotations"):
            for task in page:
                image = task["data"]["image_sha256"]
                assert image not in found, f"{image} is there twice"
                found[image] = task
        return found

    def task(self, place: int) -> dict[str, Any]:
        """The task of the image at a place."""
        return self.tasks()[self.images[place]]

    def answer(
        self,
        task: Mapping[str, Any],
        text: str | None = None,
        verdict: str | None = "good",
        token: str | None = None,
        **other: Any,
    ) -> dict[str, Any]:
        """Submits an annotation as the page does; without `text` the proposal is taken as it is."""
        shown = max(task["predictions"], key=lambda prediction: prediction["id"])
        body = {
            "result": result_of(
                shown["result"][0]["value"]["text"][0] if text is None else text, verdict, text is None
            ),
            "lead_time": 7.5,
            "parent_prediction": shown["id"],
        }
        made: dict[str, Any] = self.server.api("POST", f"/api/tasks/{task['id']}/annotations/", body | other, token)
        return made

    def edit(self, annotation: int, text: str, verdict: str = "fixed", token: str | None = None) -> None:
        """Changes an annotation."""
        body = {"result": result_of(text, verdict, False), "lead_time": 9.0}
        self.server.api("PATCH", f"/api/annotations/{annotation}/", body, token)

    def captions(self) -> dict[str, str]:
        """The set `human` now."""
        return dict(self.catalog.caption_texts("zoo", "human").select("image_sha256", "text").iter_rows())

    def revisions(self, place: int) -> list[dict[str, Any]]:
        """Every revision of an image in `human`, oldest first."""
        rows = self.catalog.image_history(self.images[place]).to_dicts()
        return [row for row in rows if row["set_name"] == "human"]

    def seen(self, columns: str, order: str = "revision_id") -> list[tuple[Any, ...]]:
        """Columns of every annotation revision seen."""
        return self.lab.run(f"SELECT {columns} FROM annotation_revisions ORDER BY {order}")


def result_of(text: str, verdict: str | None, accepted: bool) -> list[dict[str, Any]]:
    """An annotation's result."""
    box = {"id": "a", "from_name": "final_caption", "to_name": "image", "type": "textarea", "value": {"text": [text]}}
    choice = {"id": "b", "from_name": "verdict", "to_name": "image", "type": "choices", "value": {"choices": [verdict]}}
    marked = box | {"origin": "prediction" if accepted else "prediction-changed"}
    return [marked, choice] if verdict else [marked]
