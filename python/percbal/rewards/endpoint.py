"""Blind re-answering by a model behind an OpenAI-compatible chat endpoint."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from typing import Any

from percbal.responses.copied import words
from percbal.rewards.blind import blind_messages, blind_reanswer
from percbal.rewards.texts import content_text, read_parts, readable

INSTRUCTION = (
    "You cannot see the image. What it shows is given between <perception> and </perception>. "
    "Think, then give the final answer once, between <answer> and </answer>."
)


class EndpointReanswer:
    """A TRL reward: the share of an endpoint's answers, from the perception alone, that are right.

    url: the full address, such as ``http://localhost:8000/v1/chat/completions``.
    model: its name there.
    samples: answers per perception; rollouts of one prompt that perceived the same share them.
    timeout: seconds without a byte after which a request has failed.
    threads: requests at a time.
    reward: judges the answers, as `blind_reanswer` or ``from_task(task).blind_reanswer``.
    temperature, max_tokens: of the sampling. instruction: the system message, or None.
    api_key: sent as a bearer token. name: what TRL logs the reward as.

    A completion without a readable perception earns 0 and asks nothing. Where a request fails, the
    completion is not scored (None), the share of such completions is logged as ``<name>/failed``;
    where all of them fail, RuntimeError names the address and the first failure.
    """

    def __init__(
        self,
        url: str,
        model: str,
        samples: int = 1,
        timeout: float = 60.0,
        *,
        threads: int = 16,
        reward: Callable[..., list[float | None]] = blind_reanswer,
        temperature: float = 1.0,
        max_tokens: int = 1024,
        instruction: str | None = INSTRUCTION,
        api_key: str | None = None,
        name: str = "blind_reanswer",
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"url must begin with http:// or https://, got {url!r}")
        for option, value in {"samples": samples, "threads": threads, "timeout": timeout}.items():
            if not value > 0:
                raise ValueError(f"{option} must be positive, got {value}")
        self.url, self.samples, self.timeout, self.threads = url, samples, timeout, threads
        self.reward, self.instruction, self.api_key = reward, instruction, api_key
        self.body = {"model": model, "temperature": temperature, "max_tokens": max_tokens}
        self.__name__ = name

    def __call__(
        self,
        completions: Sequence[Any],
        prompts: Sequence[Any],
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        requests = [
            self._request(prompt, parts.perception)
            if readable(words(parts.perception or ""))
            else None
            for prompt, parts in zip(prompts, read_parts(completions), strict=True)
        ]
        distinct = list(dict.fromkeys(request for request in requests if request is not None))
        # one thread's exception is one completion's, so failures come back as values
        with ThreadPoolExecutor(self.threads) as pool:
            replies = list(pool.map(self._ask, [r for r in distinct for _ in range(self.samples)]))
        failures = [reply for reply in replies if isinstance(reply, Exception)]
        if failures and len(failures) == len(replies):
            raise RuntimeError(
                f"all {len(replies)} requests to {self.url} failed; the first: {failures[0]}"
            )
        answers = {
            request: replies[i * self.samples : (i + 1) * self.samples]
            for i, request in enumerate(distinct)
        }
        blind: list[list[str] | None] = []
        failed = []
        for request in requests:
            texts = None if request is None else answers[request]
            failed.append(any(isinstance(text, Exception) for text in texts or []))
            blind.append(None if texts is None else [t for t in texts if isinstance(t, str)])
        columns["blind_answers"] = blind
        scores = self.reward(completions=completions, prompts=prompts, **columns)
        if log_metric is not None and scores:
            log_metric(f"{self.__name__}/failed", sum(failed) / len(failed))
        return [None if bad else score for bad, score in zip(failed, scores, strict=True)]

    def _request(self, prompt: Any, perceived: str | None) -> bytes:
        asked = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        messages = [
            {"role": message["role"], "content": content_text(message.get("content"))}
            for message in blind_messages(asked, perceived or "")
        ]
        if self.instruction is not None:
            messages.insert(0, {"role": "system", "content": self.instruction})
        return json.dumps({**self.body, "messages": messages}).encode()

    def _ask(self, request: bytes) -> str | Exception:
        headers = {"Content-Type": "application/json"}
        if self.api_key is not None:
            headers["Authorization"] = f"Bearer {self.api_key}"
        try:
            call = urllib.request.Request(self.url, request, headers)
            with urllib.request.urlopen(call, timeout=self.timeout) as response:
                reply = json.load(response)
            return content_text(reply["choices"][0]["message"]["content"])
        except (OSError, HTTPException, ValueError, LookupError, TypeError) as error:
            return _explained(error)


def _explained(error: Exception) -> Exception:
    """A malformed reply says what it is; network errors say it themselves."""
    if isinstance(error, (OSError, HTTPException)):
        return error
    return ValueError(f"the reply is no chat completion ({type(error).__name__}: {error})")
