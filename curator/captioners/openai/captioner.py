"""The caption model of the strategy `openai`: encodes images on threads, sends a batch's requests concurrently."""

from __future__ import annotations

import asyncio
import base64
import io
from collections import Counter
from collections.abc import Sequence
from typing import Any

from openai import AsyncOpenAI
from PIL.Image import Image

from curator.captioners.model import Item, MachineFailed, Output
from curator.captioners.model.downscale import downscaled
from curator.captioners.model.prompt import fill_prompt
from curator.captioners.openai.endpoint import Endpoint, check_key, find_endpoint
from curator.captioners.openai.errors import Fault
from curator.captioners.openai.options import Options
from curator.captioners.openai.requests import CaptionRequest, RequestSender

CONNECT_S = 20.0
MIN_REFUSALS = 3  # so many equal refusals before the first answer are not the images' fault


class OpenAIModel:
    def __init__(self, options: Options, endpoint: Endpoint) -> None:
        self.options, self.endpoint = options, endpoint
        self.batch_size: int | None = options.batch_size or 4 * options.concurrency
        self._loop = asyncio.Runner()
        self._sender = RequestSender(_client(endpoint), endpoint, options)
        self._failure: MachineFailed | None = None

    def preprocess(self, item: Item) -> CaptionRequest:
        options = self.options
        url = _data_url(downscaled(item.path, max_side_px=options.max_side_px), options.jpeg_quality)
        return CaptionRequest(fill_prompt(options.system, item.fields), fill_prompt(options.prompt, item.fields), url)

    def generate(self, items: Sequence[Item], prepared: Sequence[CaptionRequest]) -> list[Output]:
        """Send all requests, at most `concurrency` at a time.

        If the endpoint fails after some answers, return these, since they are paid for; the next call raises.
        """
        if self._failure:
            raise self._failure
        results = self._loop.run(self._send(prepared))
        failure = next((result for result in results if isinstance(result, MachineFailed)), None)
        answered = [result for result in results if isinstance(result, tuple)]
        failure = failure or self._common_failure([fault for _, fault in answered])
        if failure and not any(output.text is not None for output, _ in answered):
            raise failure
        self._failure = failure
        not_sent = Output(None, f"not sent: {failure}")
        return [result[0] if isinstance(result, tuple) else not_sent for result in results]

    def close(self) -> None:
        self._loop.run(self._sender.client.close())
        self._loop.close()

    async def _send(self, requests: Sequence[CaptionRequest]) -> list[Any]:
        """Return for each request (Output, Fault or None), MachineFailed, or None if it was cancelled."""
        tasks = [asyncio.create_task(self._sender.send(request)) for request in requests]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:  # on Ctrl-C too, so that nothing is waited for
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, MachineFailed):
                raise result
        return [None if isinstance(result, asyncio.CancelledError) else result for result in results]

    def _common_failure(self, faults: Sequence[Fault | None]) -> MachineFailed | None:
        """Return an error if a whole batch failed for a reason that isn't the images."""
        reasons = Counter(fault.reason for fault in faults if fault)
        if not faults or sum(reasons.values()) < len(faults):
            return None
        reason, count = reasons.most_common(1)[0]
        endpoint_failed = all(fault.verdict == "retry" for fault in faults if fault)
        blames_request = any(fault and fault.blames_request for fault in faults)
        refused = count >= MIN_REFUSALS and not self._sender.has_answered and blames_request
        if not endpoint_failed and not refused:
            return None
        return MachineFailed(f"{self.endpoint.host} answered none of {len(faults)} requests: {reason}.")


def load_model(options: Options) -> OpenAIModel:
    """Resolve the endpoint. Raises BadOption if its address or its key is missing."""
    endpoint = find_endpoint(options.base_url, options.key_env)
    check_key(endpoint)
    return OpenAIModel(options, endpoint)


def _client(endpoint: Endpoint) -> AsyncOpenAI:
    """Create a client without retries of its own, which sends OpenAI's keys and headers to no other host."""
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
        timeout=Timeout(None, connect=CONNECT_S),  # `timeout_s` limits the whole request
    )


def _data_url(image: Image, quality: int) -> str:
    """Encode an image as JPEG in a data URL (RFC 2397)."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
