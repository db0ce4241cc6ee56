"""Blind re-answering by a model behind an OpenAI-compatible chat endpoint."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from percbal.responses.copied import words
from percbal.responses.prompt import OPTIONS, content_text, without_options
from percbal.rewards.blind import blind_messages, blind_reanswer
from percbal.rewards.texts import read_parts, readable

log = logging.getLogger(__name__)

LARGEST_REPLY = 2**22  # bytes
INSTRUCTION = (
    "You cannot see the image. What it shows is given between <perception> and </perception>. "
    "Think, then give the final answer once, between <answer> and </answer>."
)


class EndpointReanswer:
    """A TRL reward: the share of an endpoint's answers, from the perception alone, that are right.

    url: the full address, such as ``http://localhost:8000/v1/chat/completions``.
    model: its name there.
    samples: answers per perception; rollouts of one prompt that perceived the same share them.
    timeout: seconds until the whole reply must be there.
    threads: requests at a time.
    reward: judges the answers, as `blind_reanswer` or ``from_task(task).blind_reanswer``.
    temperature, max_tokens: of the sampling. instruction: the system message, or None.
    chat_template_kwargs: options of the endpoint's chat template, sent in the body as vLLM and
        SGLang take them; a prompt's own, and a column of that name, go first. Without any the field
        is left out: other endpoints may refuse it.
    api_key: sent as a bearer token, to this address alone: redirects are failures, and proxies of
        the environment are not used. name: what TRL logs the reward as.

    A completion without a readable perception earns 0 and asks nothing. Where a request fails (no
    reply in time, one too large, no chat completion, no content), the completion is not scored
    (None), and the share of such completions is logged as ``<name>/failed``; where all of them
    fail, RuntimeError names the address and the first failure.
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
        chat_template_kwargs: Mapping[str, Any] | None = None,
        api_key: str | None = None,
        name: str = "blind_reanswer",
    ) -> None:
        check_address(url, api_key)
        if find_spec("httpx2") is None:
            raise ValueError('EndpointReanswer needs httpx2: pip install "percbal[train]"')
        for option, value in {"samples": samples, "threads": threads, "timeout": timeout}.items():
            if not value > 0:
                raise ValueError(f"{option} must be positive, got {value}")
        self.url, self.samples, self.timeout, self.threads = url, samples, timeout, threads
        self.reward, self.instruction, self.api_key = reward, instruction, api_key
        self.template = dict(chat_template_kwargs or {})
        self.body = {"model": model, "temperature": temperature, "max_tokens": max_tokens}
        self.__name__ = name

    def __call__(
        self,
        completions: Sequence[Any],
        prompts: Sequence[Any],
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        options = columns.get(OPTIONS) or [None] * len(completions)
        requests = [
            self._request(prompt, parts.perception, own)
            if readable(words(parts.perception or ""))
            else None
            for prompt, parts, own in zip(prompts, read_parts(completions), options, strict=True)
        ]
        distinct = list(dict.fromkeys(request for request in requests if request is not None))
        replies = self._ask_all([r for r in distinct for _ in range(self.samples)])
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

    def _request(self, prompt: Any, perceived: str | None, options: Any) -> bytes:
        """options: the row's own, of the chat template."""
        asked = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        asked, carried = without_options(asked)
        given = self.template | carried | (options or {})
        template = {name: value for name, value in given.items() if value is not None}
        messages = [
            {"role": message["role"], "content": content_text(message.get("content"))}
            for message in blind_messages(asked, perceived or "")
        ]
        if self.instruction is not None:
            messages.insert(0, {"role": "system", "content": self.instruction})
        body = {**self.body, "messages": messages} | ({OPTIONS: template} if template else {})
        return json.dumps(body).encode()

    def _ask_all(self, requests: list[bytes]) -> list[str | Exception]:
        """One reply or failure for each request, ``threads`` of them at a time."""
        import httpx2

        async def ask_all() -> list[str | Exception]:
            free = asyncio.Semaphore(self.threads)
            # no settings of the environment: a proxy of theirs would be given the key, too
            async with httpx2.AsyncClient(
                headers=self._headers(), timeout=None, follow_redirects=False, trust_env=False
            ) as client:

                async def ask(request: bytes) -> str | Exception:
                    async with free:
                        return await self._ask(client, request)

                return await asyncio.gather(*map(ask, requests))

        with ThreadPoolExecutor(1) as own_thread:  # the caller's may have a loop already
            return own_thread.submit(asyncio.run, ask_all()).result()

    def _headers(self) -> dict[str, str]:
        # identity: a small reply that unpacks to a large one would pass the limit
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if self.api_key is not None:
            headers["Authorization"] = f"Bearer {self.api_key}"
        return headers

    async def _ask(self, client: Any, request: bytes) -> str | Exception:
        """What was answered; one request's failure is one completion's, so it is a value."""
        import httpx2

        try:
            reply = await asyncio.wait_for(self._reply(client, request), self.timeout)
            return _content(reply)
        except TimeoutError:
            return TimeoutError(f"timed out after {self.timeout:g} s")
        except (OSError, ValueError, httpx2.HTTPError) as error:
            return error

    async def _reply(self, client: Any, request: bytes) -> bytes:
        async with client.stream("POST", self.url, content=request) as response:
            if response.status_code != 200:  # a redirect too: only this address is asked
                raise OSError(f"HTTP {response.status_code} {response.reason_phrase}")
            reply = bytearray()
            async for part in response.aiter_raw():
                reply += part
                if len(reply) > LARGEST_REPLY:
                    raise ValueError(f"the reply is larger than {LARGEST_REPLY} bytes")
        return bytes(reply)


def _content(reply: bytes) -> str:
    """The text of a chat completion; ValueError for anything else, null among it."""
    try:
        content = json.loads(reply)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        what = f"{type(error).__name__}: {error}"
        raise ValueError(f"the reply is no chat completion ({what[:200]})") from None
    if not isinstance(content, (str, list)):
        raise ValueError(f"the reply has no content but {type(content).__name__}")
    return content_text(content)


def check_address(url: str, api_key: str | None) -> None:
    """ValueError for an address or a key that cannot be sent; never showing the key."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"url must begin with http:// or https:// and a host, got {url!r}")
    if parts.username is not None or parts.password is not None:
        raise ValueError("url must not hold a password, which errors would show; use api_key")
    if parts.query or parts.fragment:
        raise ValueError("url must end with its path: what follows ? or # would show in errors")
    if api_key is not None and not (api_key.isascii() and api_key.isprintable()):
        raise ValueError("api_key must be printable ASCII, on one line")
    if api_key is not None and parts.scheme == "http" and not _is_here(parts.hostname):
        log.warning(
            "the key goes to %s over http, where anybody on the way can read it: use https",
            parts.hostname,
        )


def _is_here(host: str) -> bool:
    """Whether it is this machine by its name or number."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
