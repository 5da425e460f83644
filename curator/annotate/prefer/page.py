"""The page of a blind comparison: the image, numbered candidates, and an answer by one key.

There is no box to type in, so 1, 2, ... and Ctrl+Enter work at once. Nothing sent to a browser says which set a
candidate is from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Literal

PREFERRED = "preferred"
SAME = "same"
MOST = 6  # candidates: more nobody compares
Outcome = Literal["chosen", "same", "skipped", "unreadable"]

STYLE = """
    .lsf-sidepanels__wrapper { display: none !important; }
    .lsf-sidepanels { padding: 0 !important; }
    .amatl { display: flex; gap: 28px; align-items: flex-start; padding: 4px 8px; }
    .amatl-picture { flex: 1 1 60%; min-width: 0; position: sticky; top: 0; }
    .amatl-picture [data-testid="error:http"] { font-size: 12px; overflow-wrap: anywhere; }
    .amatl-picture [data-testid="error:http"]::before { display: block; font-size: 18px; margin-bottom: 12px;
      content: "This picture can't be reached. Don't judge blind: skip it (Ctrl+Space), say so to whoever sent you."; }
    .amatl-captions { flex: 1 1 40%; min-width: 340px; max-width: 640px; }
    .amatl-candidate { display: flex; gap: 14px; border: 1px solid #8886; border-radius: 8px; padding: 6px 14px;
      margin-bottom: 14px; align-items: baseline; }
    .amatl-keys h4, .amatl-keys .ant-typography { font-size: 15px; font-weight: 400; opacity: 0.8; }
    .amatl-candidate .lsf-object { flex: 1; font-size: 17px; line-height: 1.45; }
"""


def labeling_config(candidates: int) -> str:
    """Return the page for this number of candidates as Label Studio's XML."""
    shown = "".join(
        f"""
    <View className="amatl-candidate">
      <Header value="{number}" size="4"/>
      <Text name="candidate_{number}" value="$text_{number}" granularity="word"/>
    </View>"""
        for number in range(1, candidates + 1)
    )
    choices = "".join(
        f'\n      <Choice value="Caption {number}" alias="{number}" hotkey="{number}"/>'
        for number in range(1, candidates + 1)
    )
    return f"""<View className="amatl">
  <Style>{STYLE}  </Style>
  <View className="amatl-picture">
    <Image name="image" value="$image" zoom="true" zoomControl="true" negativeZoom="true" defaultZoom="fit"/>
  </View>
  <View className="amatl-captions">
    <Header value="Which caption fits the picture better?" size="4"/>{shown}
    <Choices name="{PREFERRED}" toName="image" choice="single-radio" showInline="true" required="true"
             requiredMessage="Choose first: a number, or 0 where none is better.">{choices}
      <Choice value="No difference" alias="{SAME}" hotkey="0"/>
    </Choices>
    <View className="amatl-keys"><Header value="{escape(keys(candidates))}" size="6"/></View>
  </View>
</View>
"""


def keys(candidates: int) -> str:
    """Return the help on keys, one line."""
    numbers = " or ".join((", ".join(map(str, range(1, candidates))), str(candidates)))
    return f"Press {numbers}, or 0 for no difference, then Ctrl+Enter. Ctrl+Space skips."


def instructions(candidates: int) -> str:
    """Return the project's instructions as HTML."""
    return (
        "<p>Which caption says better what the picture shows? Judge the text alone: where the captions come from is "
        "hidden, and their order changes from picture to picture.</p><br>"
        f"<p><b>{escape(keys(candidates))}</b></p>"
        "<p>No picture? Skip it, and tell whoever sent you here.</p>"
    )


def task_data(image_url: str, image_sha256: str, dataset: str, texts: Sequence[str]) -> dict[str, Any]:
    """Return the data of a task, the candidates in the order of their numbers."""
    numbered = {f"text_{number}": text for number, text in enumerate(texts, 1)}
    return {"image": image_url, "image_sha256": image_sha256, "dataset": dataset, **numbered}


def read_answer(annotation: Mapping[str, Any], candidates: int) -> tuple[Outcome, int | None]:
    """Return the outcome of an annotation and, for `chosen`, the candidate's place, from 0."""
    if annotation.get("was_cancelled"):
        return "skipped", None
    for item in annotation.get("result") or []:
        value = item.get("value") if isinstance(item, Mapping) else None
        if not isinstance(value, Mapping) or item.get("from_name") != PREFERRED:
            continue
        chosen = str((value.get("choices") or [""])[0])
        if chosen == SAME:
            return "same", None
        if chosen.isdecimal() and 1 <= int(chosen) <= candidates:
            return "chosen", int(chosen) - 1
    return "unreadable", None
