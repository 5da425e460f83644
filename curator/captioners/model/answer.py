"""From what a model answered to a caption: its thoughts taken out, and what to do with an answer that was cut off."""

from __future__ import annotations

import re
from typing import Literal

Unfinished = Literal["sentence", "keep", "fail"]
UNFINISHED_HELP = (
    "An answer cut off by its token limit: keep its whole sentences (sentence), all of it (keep), or none and try "
    "again in the next run (fail)."
)
NOTHING = "the model wrote nothing"
ONLY_THOUGHT = "the model thought until its tokens ran out; raise the limit"

_SENTENCE_END = re.compile(r"""[.!?…。！？]+["'”’»)\]]*(?=\s|$)|[。！？]""")


def caption_of(answer: str, cut: bool, unfinished: Unfinished, limit: str) -> tuple[str | None, str | None]:
    """(text, None), or (None, why there is none). `cut`: its tokens ran out; `limit` names them: "max_tokens=300"."""
    _, thought, answer = answer.rpartition("</think>")
    answer = answer.strip()
    if answer.startswith("<think>") or (thought and cut and not answer):
        return None, ONLY_THOUGHT
    if not answer:
        return None, NOTHING
    if not cut or unfinished == "keep":
        return answer, None
    if unfinished == "fail":
        return None, f"cut off at {limit}"
    ends = [found.end() for found in _SENTENCE_END.finditer(answer)]
    return (answer[: ends[-1]], None) if ends else (None, f"cut off at {limit} before a sentence ended")
