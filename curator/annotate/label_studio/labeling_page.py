"""The labeling page as data: the config and the tasks that make it, and annotations read back from it.

A caption comes as a *prediction* (never as task data): only then does an annotation know its parent and whether the
text was changed. No control is named like a key of the task data: Label Studio's exports overwrite one with the other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

CAPTION = "final_caption"
VERDICT = "verdict"
IMAGE = "image"
PAGE = Path(__file__).parent / "page"
LINE_BREAKS = re.compile(r"\s*[\r\n\x85\u2028\u2029]+\s*")
# An absolute path: /a/b, C:\\a, \\\\host\\a, ~/a, ~ann/a, file:/a. Not a web address, nor and/or.
PATH = r"(?:/[^/\s]+/|[A-Za-z]:[\\/](?!/)|\\\\|~\w*/|file:)"
WHOLE_PATH = re.compile(PATH)
QUOTED_PATH = re.compile(rf"([\"'`]){PATH}[^\"'`]*(?=\1)")  # may have blanks
INNER_PATH = re.compile(rf"(?<![^\s\"'`=(,;:<>\[{{|]){PATH}[^\s\"'`,;)<>\]}}|]*")
FILE_FIELD = re.compile(r"(?:|.*[^A-Za-z]|.*[a-z](?=[A-Z]))(?i:file|(?:file_?)?path|file_?name|folder|directory|dir)")

Verdict = Literal["good", "fixed", "reject"]
Origin = Literal["accepted", "edited", "written"]
VERDICTS: tuple[Verdict, ...] = ("good", "fixed", "reject")


@dataclass(frozen=True)
class Answer:
    """An annotation, parsed.

    `text`: the caption on one line; "" if the person emptied it; None if the annotation holds none.
    `origin`: accepted (as it was proposed), edited, or written (nothing was proposed); None without a text.
    A skip keeps whatever was in the box: look at `skipped` first.
    """

    text: str | None
    verdict: Verdict | None
    origin: Origin | None
    skipped: bool
    lead_time_seconds: float | None
    person: int | None  # Label Studio's user id
    model_version: str | None  # of the prediction: which caption set and version was proposed


def labeling_config() -> str:
    """Return the page as Label Studio's XML."""
    return (PAGE / "config.xml").read_text(encoding="utf-8")


def instructions() -> str:
    """Return the project's instructions as HTML: what to do, and the keys that save."""
    return (PAGE / "instructions.html").read_text(encoding="utf-8")


def task_data(
    image_url: str,
    image_sha256: str,
    dataset: str,
    file_name: str,
    metadata: Mapping[str, Any],
    captions: Mapping[str, str],
) -> dict[str, Any]:
    """Return the data of a task. `file_name`, and any path in the metadata, is cut to its last part.

    `captions`: captions of other sets, by set, for reference.
    """
    return {
        "image": image_url,
        "image_sha256": image_sha256,
        "dataset": dataset,
        "file_name": _last_part(file_name),
        "metadata": {name: text for name, value in metadata.items() if (text := _readable(name, value))},
        "captions": dict(captions),
    }


def prediction(text: str, model_version: str) -> dict[str, Any]:
    """Return the prediction that prefills the page with `text`. `model_version` names its version, dataset/set@n."""
    return {
        "model_version": model_version,
        "result": [{"from_name": CAPTION, "to_name": IMAGE, "type": "textarea", "value": {"text": [text]}}],
    }


def read_annotation(annotation: Mapping[str, Any]) -> Answer:
    """Parse an annotation of the API. A changed labeling config may have put anything in it."""
    results = [item for item in annotation.get("result") or [] if isinstance(item, Mapping)]
    caption = _value(results, CAPTION, "text")
    text = None if caption is None else one_line(" ".join(map(str, caption)))
    chosen = _value(results, VERDICT, "choices") or []
    proposed = annotation.get("prediction")
    proposed = proposed if isinstance(proposed, Mapping) else {}
    person = annotation.get("completed_by")
    return Answer(
        text=text,
        verdict=next((verdict for verdict in VERDICTS if verdict in chosen), None),
        origin=None if text is None else _origin(text, results, proposed, annotation),
        skipped=bool(annotation.get("was_cancelled")),
        lead_time_seconds=annotation.get("lead_time"),
        person=person.get("id") if isinstance(person, Mapping) else person,
        model_version=proposed.get("model_version"),
    )


def one_line(text: str) -> str:
    """Return a caption as the catalog keeps it: no line breaks, no blanks at the ends."""
    return LINE_BREAKS.sub(" ", text.strip())


def _origin(
    text: str, results: list[Mapping[str, Any]], proposed: Mapping[str, Any], annotation: Mapping[str, Any]
) -> Origin:
    """Compare the texts if the proposal came with the annotation, otherwise trust Label Studio's mark."""
    before = _value(proposed.get("result") or [], CAPTION, "text")
    if before is not None:
        return "accepted" if one_line(" ".join(map(str, before))) == text else "edited"
    mark = next((item.get("origin") for item in results if item.get("from_name") == CAPTION), None)
    if mark == "prediction":
        return "accepted"
    changed = mark == "prediction-changed" or annotation.get("parent_prediction") is not None
    return "edited" if changed else "written"


def _value(results: list[Mapping[str, Any]], control: str, key: str) -> list[Any] | None:
    """Return the values of a control, or None if the results don't have it."""
    for item in results:
        value = item.get("value")
        if item.get("from_name") == control and isinstance(value, Mapping) and key in value:
            held = value[key]
            return list(held) if isinstance(held, list) else [held]
    return None


def _readable(name: str, value: Any) -> str:
    """Return a metadata value as text, "" for nothing, and paths cut to their last part."""
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return ", ".join(text for item in value if (text := _readable(name, item)))
    text = str(value)
    if FILE_FIELD.fullmatch(name) or WHOLE_PATH.match(text.strip()):
        return _last_part(text)
    text = QUOTED_PATH.sub(lambda match: match[1] + _last_part(match[0][1:]), text)
    return INNER_PATH.sub(lambda match: _last_part(match[0]), text)


def _last_part(path: str) -> str:
    return re.split(r"[/\\]", path.strip().rstrip("/\\"))[-1]
