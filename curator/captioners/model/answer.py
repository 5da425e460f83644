"""Convert a model's answer to a caption: remove its reasoning, handle truncation."""

from __future__ import annotations

import re
from typing import Literal

Unfinished = Literal["sentence", "keep", "fail"]
UNFINISHED_HELP = (
    "If the token limit cuts an answer off: keep its whole sentences (sentence), keep all (keep), or keep none and "
    "retry in the next run (fail)."
)
NOTHING = "the model wrote nothing"
ONLY_THOUGHT = "the model's reasoning used up the token limit; raise it"

_SENTENCE_END = re.compile(r"""[.!?…。！？]+["'”’»)\]]*(?=\s|$)|[。！？]""")


def parse_answer(answer: str, cut: bool, unfinished: Unfinished, limit: str) -> tuple[str | None, str | None]:
    """Return (text, None) or (None, reason). `cut`: the answer hit its limit; `limit`: such as "max_tokens=300"."""
    _, reasoning_end, answer = answer.rpartition("</think>")
    answer = answer.strip()
    if answer.startswith("<think>") or (reasoning_end and cut and not answer):
        return None, ONLY_THOUGHT
    if not answer:
        return None, NOTHING
    if not cut or unfinished == "keep":
        return answer, None
    if unfinished == "fail":
        return None, f"cut off at {limit}"
    ends = [match.end() for match in _SENTENCE_END.finditer(answer)]
    return (answer[: ends[-1]], None) if ends else (None, f"cut off at {limit} before a sentence ended")
