"""One image's question to the endpoint: asked at the common pace, again where that may help, and its answer read."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import Any

from openai import AsyncOpenAI, omit
from openai.types.chat import ChatCompletion

from curator.captioners.model import MachineFailed, Written
from curator.captioners.model.answer import caption_of
from curator.captioners.openai.endpoint import Endpoint
from curator.captioners.openai.errors import FILTERED, Fault, NotACompletion, fault_of
from curator.captioners.openai.options import Options
from curator.captioners.openai.rate_limit import Pace

LONGEST_BACK_OFF_S = 30.0
MILLION = 1_000_000


@dataclass(frozen=True)
class Question:
    """What is sent of one image: its prompts, and the picture as a data URL."""

    system: str
    prompt: str
    picture_url: str


class Asking:
    """Asks the endpoint of one run. All questions share its pace and its number of connections."""

    def __init__(self, client: AsyncOpenAI, endpoint: Endpoint, options: Options) -> None:
        self.client, self.endpoint, self.options = client, endpoint, options
        self.pace = Pace(options.requests_per_minute, options.tokens_per_minute)
        self.at_once = asyncio.Semaphore(options.concurrency)
        self.has_answered = False
        self._stopped: MachineFailed | None = None
        self._limit_name = "max_tokens"
        self._headers: dict[str, Any] = {} if endpoint.key else {"Authorization": omit}

    async def ask(self, question: Question) -> tuple[Written, Fault | None]:
        """What came of it, and the fault that made an end of it. Raises MachineFailed where asking on is pointless."""
        tries = 0
        while True:  # Not edge.retry: it awaits, may change the request, and one server's wait holds all questions.
            try:
                return await self._answer(question), None
            except MachineFailed:
                raise
            except Exception as error:
                if self._takes_another_limit(error):
                    continue
                fault = fault_of(error, self.endpoint, self.options.model)
            tries += 1
            # A server that never answered isn't running; one that did may come back.
            gives_up = fault.unreachable and (tries > self.options.retries or not self.has_answered)
            if gives_up or fault.verdict == "endpoint":
                self._stopped = self._stopped or MachineFailed(f"{fault.reason}.")
                raise self._stopped
            if fault.verdict == "image":
                return Written(None, fault.reason), fault
            if tries > self.options.retries:
                return Written(None, f"{fault.reason}, {tries} times"), fault
            await self._wait(fault, tries)

    async def _answer(self, question: Question) -> Written:
        async with self.at_once:
            set_aside = await self.pace.turn()
            if self._stopped:
                raise self._stopped
            async with asyncio.timeout(self.options.timeout_s):
                completion = await self.client.chat.completions.create(
                    **self._request(question), extra_headers=self._headers
                )
        written = self._read(completion)
        self.has_answered = True
        self.pace.used(set_aside, written.input_tokens + written.output_tokens)
        return written

    def _request(self, question: Question) -> dict[str, Any]:
        options = self.options
        picture = {"url": question.picture_url, **({"detail": options.detail} if options.detail else {})}
        parts = [{"type": "text", "text": question.prompt}, {"type": "image_url", "image_url": picture}]
        system = [{"role": "system", "content": question.system}] if question.system else []
        wanted = {"temperature": options.temperature, "seed": options.seed}
        return {
            "model": options.model,
            "messages": [*system, {"role": "user", "content": parts}],
            self._limit_name: options.max_tokens,
            **{name: value for name, value in wanted.items() if value is not None},
        }

    def _read(self, completion: ChatCompletion) -> Written:
        """Raises NotACompletion: the client takes any JSON, and text, for an answer."""
        try:
            choice, usage = completion.choices[0], completion.usage
            content, refusal = choice.message.content, choice.message.refusal
            asked = int(usage.prompt_tokens) if usage else 0
            answered = int(usage.completion_tokens) if usage else 0
        except (AttributeError, IndexError, TypeError) as error:
            raise NotACompletion from error
        text: str | None = None
        if refusal:
            reason: str | None = "the model refused to describe it"
        elif choice.finish_reason == "content_filter":
            reason = FILTERED
        else:
            limit = f"max_tokens={self.options.max_tokens}"
            text, reason = caption_of(content or "", choice.finish_reason == "length", self.options.unfinished, limit)
        cost = asked * self.options.price_per_million_input + answered * self.options.price_per_million_output
        return Written(text, reason, asked, answered, cost / MILLION)

    def _takes_another_limit(self, error: Exception) -> bool:
        """OpenAI's newer models know `max_tokens` by another name, and say so."""
        if self._limit_name != "max_tokens" or "max_completion_tokens" not in str(error):
            return False
        self._limit_name = "max_completion_tokens"
        return True

    async def _wait(self, fault: Fault, tries: int) -> None:
        """Exponential back-off with jitter, or what the server asks for; then nobody asks."""
        if fault.wait_s is not None:
            self.pace.hold(fault.wait_s)
            return
        await asyncio.sleep(
            min(LONGEST_BACK_OFF_S, self.options.back_off_s * 2 ** (tries - 1)) * random.uniform(0.5, 1)
        )
