"""One image's request: wait for the rate limit, send, retry, read the answer."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import Any

from openai import AsyncOpenAI, omit
from openai.types.chat import ChatCompletion

from curator.captioners.model import MachineFailed, Output
from curator.captioners.model.answer import parse_answer
from curator.captioners.openai.endpoint import Endpoint
from curator.captioners.openai.errors import FILTERED, Fault, NotACompletion, fault_of
from curator.captioners.openai.options import Options
from curator.captioners.openai.rate_limit import RateLimit

MAX_BACK_OFF_S = 30.0
MILLION = 1_000_000


@dataclass(frozen=True)
class CaptionRequest:
    system: str
    prompt: str
    image_url: str


class RequestSender:
    def __init__(self, client: AsyncOpenAI, endpoint: Endpoint, options: Options) -> None:
        self.client, self.endpoint, self.options = client, endpoint, options
        self.rate_limit = RateLimit(options.requests_per_minute, options.tokens_per_minute)
        self.slots = asyncio.Semaphore(options.concurrency)
        self.has_answered = False
        self._stopped: MachineFailed | None = None
        self._limit_name = "max_tokens"
        self._headers: dict[str, Any] = {} if endpoint.key else {"Authorization": omit}

    async def send(self, request: CaptionRequest) -> tuple[Output, Fault | None]:
        """Return the output, and the fault that ended the retries. Raises MachineFailed if no request can succeed."""
        tries = 0
        while True:  # edge.retry doesn't await, change the request, or pause all requests when the server asks for it
            try:
                return await self._answer(request), None
            except MachineFailed:
                raise
            except Exception as error:
                if self._rename_limit(error):
                    continue
                fault = fault_of(error, self.endpoint, self.options.model)
            tries += 1
            # A server that never answered isn't running; one that did may restart.
            gives_up = fault.unreachable and (tries > self.options.retries or not self.has_answered)
            if gives_up or fault.verdict == "endpoint":
                self._stopped = self._stopped or MachineFailed(f"{fault.reason}.")
                raise self._stopped
            if fault.verdict == "image":
                return Output(None, fault.reason), fault
            if tries > self.options.retries:
                return Output(None, f"{fault.reason}, {tries} times"), fault
            await self._wait(fault, tries)

    async def _answer(self, request: CaptionRequest) -> Output:
        async with self.slots:
            reserved = await self.rate_limit.turn()
            if self._stopped:
                raise self._stopped
            async with asyncio.timeout(self.options.timeout_s):
                completion = await self.client.chat.completions.create(
                    **self._arguments(request), extra_headers=self._headers
                )
        output = self._read(completion)
        self.has_answered = True
        self.rate_limit.used(reserved, output.input_tokens + output.output_tokens)
        return output

    def _arguments(self, request: CaptionRequest) -> dict[str, Any]:
        options = self.options
        image = {"url": request.image_url, **({"detail": options.detail} if options.detail else {})}
        parts = [{"type": "text", "text": request.prompt}, {"type": "image_url", "image_url": image}]
        system = [{"role": "system", "content": request.system}] if request.system else []
        sampling = {"temperature": options.temperature, "seed": options.seed}
        return {
            "model": options.model,
            "messages": [*system, {"role": "user", "content": parts}],
            self._limit_name: options.max_tokens,
            **{name: value for name, value in sampling.items() if value is not None},
        }

    def _read(self, completion: ChatCompletion) -> Output:
        """Read an answer. Raises NotACompletion, since the client accepts any JSON or text."""
        try:
            choice, usage = completion.choices[0], completion.usage
            content, refusal = choice.message.content, choice.message.refusal
            input_tokens = int(usage.prompt_tokens) if usage else 0
            output_tokens = int(usage.completion_tokens) if usage else 0
        except (AttributeError, IndexError, TypeError) as error:
            raise NotACompletion from error
        text: str | None = None
        if refusal:
            reason: str | None = "the model refused to describe it"
        elif choice.finish_reason == "content_filter":
            reason = FILTERED
        else:
            limit = f"max_tokens={self.options.max_tokens}"
            text, reason = parse_answer(content or "", choice.finish_reason == "length", self.options.unfinished, limit)
        options = self.options
        cost = input_tokens * options.price_per_million_input + output_tokens * options.price_per_million_output
        return Output(text, reason, input_tokens, output_tokens, cost / MILLION)

    def _rename_limit(self, error: Exception) -> bool:
        """Switch to `max_completion_tokens` if the error names it, as OpenAI's newer models do. Returns whether."""
        if self._limit_name != "max_tokens" or "max_completion_tokens" not in str(error):
            return False
        self._limit_name = "max_completion_tokens"
        return True

    async def _wait(self, fault: Fault, tries: int) -> None:
        """Back off exponentially with jitter, or pause all requests if the server asks for it."""
        if fault.wait_s is not None:
            self.rate_limit.hold(fault.wait_s)
            return
        await asyncio.sleep(min(MAX_BACK_OFF_S, self.options.back_off_s * 2 ** (tries - 1)) * random.uniform(0.5, 1))
