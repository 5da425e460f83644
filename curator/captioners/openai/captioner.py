"""The machine of the strategy `openai`: pictures are made small on threads, a batch's questions are asked at once."""

from __future__ import annotations

import asyncio
import base64
import io
from collections import Counter
from collections.abc import Sequence
from typing import Any

from openai import AsyncOpenAI
from PIL.Image import Image

from curator.captioners.model import Item, MachineFailed, Written
from curator.captioners.model.downscale import small_picture
from curator.captioners.model.prompt import render
from curator.captioners.openai.endpoint import Endpoint, check_key, find_endpoint
from curator.captioners.openai.errors import Fault
from curator.captioners.openai.options import Options
from curator.captioners.openai.requests import Asking, Question

CONNECT_S = 20.0
SUSPICIOUS = 3  # so many images refused alike, and never one answer: it isn't the images


class OpenAIMachine:
    """An endpoint. See curator.captioners.model.Machine."""

    def __init__(self, options: Options, endpoint: Endpoint) -> None:
        self.options, self.endpoint = options, endpoint
        self.batch_size: int | None = options.batch_size or 4 * options.concurrency
        self._loop = asyncio.Runner()
        self._asking = Asking(_client(endpoint), endpoint, options)
        self._failure: MachineFailed | None = None

    def prepare(self, item: Item) -> Question:
        """The picture as a small JPEG without metadata, and what is asked about it."""
        options = self.options
        url = _data_url(small_picture(item.path, max_side_px=options.max_side_px), options.jpeg_quality)
        return Question(render(options.system, item.fields), render(options.prompt, item.fields), url)

    def write(self, items: Sequence[Item], prepared: Sequence[Question]) -> list[Written]:
        """Asks all at once, at most `concurrency` at a time.

        Where the endpoint fails with some answers in, these are kept: they are paid for. The next call raises.
        """
        if self._failure:
            raise self._failure
        outcomes = self._loop.run(self._asked(prepared))
        failure = next((outcome for outcome in outcomes if isinstance(outcome, MachineFailed)), None)
        found = [outcome for outcome in outcomes if isinstance(outcome, tuple)]
        failure = failure or self._pattern([fault for _, fault in found])
        if failure and not any(written.text is not None for written, _ in found):
            raise failure
        self._failure = failure
        not_asked = Written(None, f"not asked: {failure}")
        return [outcome[0] if isinstance(outcome, tuple) else not_asked for outcome in outcomes]

    def close(self) -> None:
        self._loop.run(self._asking.client.close())
        self._loop.close()

    async def _asked(self, questions: Sequence[Question]) -> list[Any]:
        """An outcome for each: (Written, Fault or None), MachineFailed, or None where it was called off."""
        tasks = [asyncio.create_task(self._asking.ask(question)) for question in questions]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:  # also at Ctrl-C: nothing is waited for any more
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        for outcome in ended:
            if isinstance(outcome, Exception) and not isinstance(outcome, MachineFailed):
                raise outcome
        return [None if isinstance(outcome, asyncio.CancelledError) else outcome for outcome in ended]

    def _pattern(self, faults: Sequence[Fault | None]) -> MachineFailed | None:
        """Where a whole batch failed for the same sort of reason, it isn't the images."""
        reasons = Counter(fault.reason for fault in faults if fault)
        if not faults or sum(reasons.values()) < len(faults):
            return None
        reason, count = reasons.most_common(1)[0]
        blamed = all(fault.verdict == "again" for fault in faults if fault)
        refused = count >= SUSPICIOUS and not self._asking.has_answered and any(f and f.blames_request for f in faults)
        if not blamed and not refused:
            return None
        return MachineFailed(f"{self.endpoint.host} answered none of {len(faults)} questions: {reason}.")


def open_machine(options: Options) -> OpenAIMachine:
    """Raises BadOption where the endpoint isn't known, or its key."""
    endpoint = find_endpoint(options.base_url, options.key_env)
    check_key(endpoint)
    return OpenAIMachine(options, endpoint)


def _client(endpoint: Endpoint) -> AsyncOpenAI:
    """One that retries nothing by itself, and sends a key to no one it isn't for."""
    from openai import AsyncOpenAI, Timeout, omit

    headers: dict[str, Any] = {}
    if endpoint.host != "api.openai.com":
        headers = {"OpenAI-Organization": omit, "OpenAI-Project": omit}
    return AsyncOpenAI(
        api_key=endpoint.key or "none",
        admin_api_key="",
        base_url=endpoint.base_url,
        default_headers=headers,
        max_retries=0,
        timeout=Timeout(None, connect=CONNECT_S),  # of a whole request there is `timeout_s`
    )


def _data_url(image: Image, quality: int) -> str:
    """The picture as JPEG in a data URL (RFC 2397)."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
