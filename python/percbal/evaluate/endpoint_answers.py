"""Answers of a model behind an OpenAI-compatible endpoint: vLLM, SGLang, commercial ones."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from percbal.evaluate.chat_requests import (
    Told,
    begins_anew,
    chat_request,
    check_body,
    joined,
    repeats,
)
from percbal.evaluate.endpoint_client import LONGEST_WAIT, Endpoint, EndpointError, Failure, Reply
from percbal.evaluate.generation import Completion
from percbal.evaluate.questions import Question
from percbal.responses.asking import Asking

ENOUGH = 4  # instances whose responses all begin anew: the endpoint does so, not the model
LONGEST_PAUSE = 30.0  # seconds between two tries where the endpoint says nothing of it


@dataclass
class Counts:
    """What was sent and came back."""

    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    uncounted: int = 0  # replies that do not say how many tokens they are
    told: int = 0
    anew: int = 0  # told responses with another perception than the one they were to continue


@dataclass
class EndpointAnswers:
    """Answers questions by requests, so many at a time, and tries again where that may help.

    told: how a response is made to begin with the true perception: "prefix" has the endpoint
        continue it, "text" puts it into the prompt.
    retries: after the first try, for 408, 409, 429, 5xx, lost connections and late replies. The
        endpoint's Retry-After holds for all requests; without one the pauses double.
    most: tokens of a response, in place of as many as the true one has characters.
    body: more fields of every request; those that are None are left out.
    prices: of a million tokens of prompts and of responses.

    Raises EndpointError, which names the instance, for a request that stays without an answer.
    Before the first answers, one request of one token finds out whether the endpoint is there and,
    where ``asks_told``, whether it continues a response.
    """

    endpoint: Endpoint
    asking: Asking = field(default_factory=Asking)
    told: Told = "prefix"
    concurrency: int = 8
    retries: int = 4
    most: int | None = None
    body: Mapping[str, Any] = field(default_factory=dict)
    prices: tuple[float, float] | None = None
    first_pause: float = 0.5
    asks_told: bool = True
    counts: Counts = field(default_factory=Counts)
    _until: float = 0.0  # nothing is sent before
    _told: set[int] = field(default_factory=set)  # instances of told responses
    tells = True
    alone = True  # an answer does not depend on what is asked beside

    def __post_init__(self) -> None:
        for name, least in {"concurrency": 1, "retries": 0}.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.body.get("stream"):
            raise ValueError("replies are read whole: stream must be off in the body, or left out")
        check_body(self.body)
        if not self.endpoint.timeout > 0:
            raise ValueError(f"timeout must be positive, got {self.endpoint.timeout:g}")

    def __call__(self, questions: Sequence[Question], *, told: bool) -> list[Completion]:
        if not questions:
            return []
        how = self.told if told else None
        replies = _run(self._all(questions, how))
        if how is None:
            return [Completion(reply.text, reply.cut) for reply in replies]
        pairs = zip(questions, replies, strict=True)
        return self._begun([(q, Completion(r.text, r.cut)) for q, r in pairs])

    def _begun(self, pairs: list[tuple[Question, Completion]]) -> list[Completion]:
        """Told responses, whole."""
        chosen = self.asking.response_format
        self._count_told([(question, text) for question, (text, _) in pairs])
        if self.told == "text":
            return [Completion(joined(q.beginning, text, chosen), cut) for q, (text, cut) in pairs]
        return [
            Completion(text if repeats(q.beginning, text) else q.beginning + text, cut)
            for q, (text, cut) in pairs
        ]

    def recall(self, questions: Sequence[Question], said: Sequence[Completion]) -> None:
        """Count told responses that an earlier run got."""
        pairs = zip(questions, said, strict=True)
        self._count_told([(q, text.removeprefix(q.beginning)) for q, (text, _) in pairs])

    def _count_told(self, pairs: Sequence[tuple[Question, str]]) -> None:
        """EndpointError once the responses of enough instances have all begun anew."""
        chosen = self.asking.response_format
        self.counts.told += len(pairs)
        self.counts.anew += sum(begins_anew(q.beginning, text, chosen) for q, text in pairs)
        self._told |= {question.index for question, _ in pairs}
        every = self.counts.anew == self.counts.told and len(self._told) >= ENOUGH
        if self.told == "prefix" and every:
            raise EndpointError(
                f"{self.endpoint.url} did not continue the true perception: the first "
                f"{self.counts.told} responses all have another; --told text puts it into the "
                "prompt"
            )

    async def _all(self, questions: Sequence[Question], told: Told | None) -> list[Reply]:
        free = asyncio.Semaphore(self.concurrency)
        async with self.endpoint.client(self.concurrency) as client:
            if not self.counts.requests:
                trial = self.told if self.told == "prefix" and self.asks_told else None
                await self._answer(client, questions[0], trial, most=1)

            async def one(question: Question) -> Reply:
                async with free:
                    return await self._answer(client, question, told, self.most)

            tasks = [asyncio.create_task(one(question)) for question in questions]
            try:
                return await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()

    async def _answer(
        self, client: Any, question: Question, told: Told | None, most: int | None
    ) -> Reply:
        body = {**chat_request(question, told, most=most), **self.body}
        body = {name: value for name, value in body.items() if value is not None}
        failure = Failure("nobody asked", False)
        for attempt in range(self.retries + 1):
            await asyncio.sleep(max(self._until - time.monotonic(), 0))
            found = await self.endpoint.ask(client, body)
            if isinstance(found, Reply):
                self._count(found)
                return found
            failure = found
            never = found.down and not self.counts.requests  # another try would only cost time
            if never or not found.again or (found.wait or 0) > LONGEST_WAIT:
                break
            if attempt < self.retries:
                await self._pause(found, attempt)
        raise EndpointError(self._sentence(question, told, failure))

    async def _pause(self, failure: Failure, attempt: int) -> None:
        if failure.wait is not None:  # the endpoint's word, for everybody
            self._until = max(self._until, time.monotonic() + failure.wait)
            return
        pause = min(self.first_pause * 2**attempt, LONGEST_PAUSE)
        await asyncio.sleep(pause * random.uniform(0.75, 1.25))

    def _sentence(self, question: Question, told: Told | None, failure: Failure) -> str:
        what = f"{question.place}: {self.endpoint.url} did not answer: {failure.why}"
        if failure.status in (400, 422) and told == "prefix":
            what += (
                "; if it cannot continue a response (continue_final_message), --told text puts the "
                "true perception into the prompt"
            )
        if failure.wait is not None and failure.wait > LONGEST_WAIT:
            what += f"; it asks to wait for {failure.wait:.0f} s"
        elif failure.again and not failure.down:
            what += f"; it was asked {self.retries + 1} times (--retries)"
        return what

    def _count(self, reply: Reply) -> None:
        self.counts.requests += 1
        if reply.tokens is None:
            self.counts.uncounted += 1
        else:
            self.counts.tokens_in += reply.tokens[0]
            self.counts.tokens_out += reply.tokens[1]

    def notes(self) -> list[str]:
        """How it was asked and what that took, in lines for people."""
        counts = self.counts
        used = f"{counts.requests} requests, {counts.tokens_in} tokens in, {counts.tokens_out} out"
        if counts.uncounted:
            used += f", {counts.uncounted} replies did not count theirs"
        if self.prices is not None:
            cost = counts.tokens_in * self.prices[0] + counts.tokens_out * self.prices[1]
            used += f", cost {cost / 1e6:.4f} by the prices given"
        lines = [TOLD_NOTES[self.told], used]
        if self.told == "prefix" and counts.anew:
            lines.insert(
                1,
                f"of {counts.told} responses that were to continue it, {counts.anew} go on with "
                "another perception; if the endpoint does not continue, --told text",
            )
        return lines


TOLD_NOTES: dict[Told, str] = {
    "prefix": "a_r: the endpoint continued a response that begins with the true perception",
    "text": "a_r: the true perception stood in the prompt as text; the response itself was free",
}


def _run(work: Coroutine[Any, Any, list[Reply]]) -> list[Reply]:
    """In this thread, so that Ctrl-C ends it; in another where a loop runs, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as own:
        return own.submit(asyncio.run, work).result()
