"""One request to an OpenAI-compatible endpoint: what it may do, and what its failures are called.

The client is the package `openai`, imported here alone and when it is needed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from importlib.util import find_spec
from typing import Any, NamedTuple

from percbal.responses.prompt import content_text
from percbal.responses.thoughts import CLOSING, OPENING
from percbal.rewards.endpoint import check_address

LARGEST_REPLY = 2**24  # bytes
LONGEST_WAIT = 600.0  # seconds that an endpoint may ask for
BUSY = (408, 409, 429)  # beside 5xx: worth asking again


class EndpointError(OSError):
    """An endpoint did not answer; the message is one sentence."""


class Reply(NamedTuple):
    """What was answered. tokens: of the prompt and of the response; None where not reported."""

    text: str
    cut: bool
    tokens: tuple[int, int] | None


class Failure(NamedTuple):
    """Why there is no reply. again: it may be otherwise next time, after ``wait`` seconds.

    status: of HTTP, 0 without one. down: nothing listens at the address.
    """

    why: str
    again: bool
    wait: float | None = None
    status: int = 0
    down: bool = False


@dataclass(frozen=True)
class Endpoint:
    """An address, who is asked there, and as whom. Its repr has no key.

    key_name: the variable of the environment that the key was read from, for sentences.
    timeout: seconds until a whole reply must be there.
    """

    url: str
    model: str
    timeout: float = 600.0
    key_name: str = "OPENAI_API_KEY"
    key: str | None = None

    def __post_init__(self) -> None:
        check_address(self.url, self.key)
        if find_spec("openai") is None:
            raise ValueError('an endpoint needs openai: pip install "percbal[endpoint]"')

    def __repr__(self) -> str:
        return f"Endpoint({self.url!r}, {self.model!r})"

    def client(self, connections: int) -> Any:
        """To be closed by ``async with``. It follows no redirect, which would be given the key, and
        no settings of the environment: a proxy of theirs would be given it, too."""
        import httpx2
        from openai import AsyncOpenAI, Omit

        http = httpx2.AsyncClient(
            timeout=None,
            follow_redirects=False,
            trust_env=False,
            event_hooks={"response": [_bounded]},
            limits=httpx2.Limits(max_connections=connections),
        )
        headers: dict[str, Any] = {"Accept-Encoding": "identity"}
        # of the account at OpenAI, which another host need not know
        headers |= {name: Omit() for name in ("OpenAI-Organization", "OpenAI-Project")}
        return AsyncOpenAI(
            base_url=self.url,
            api_key=self.key or "none",
            http_client=http,
            max_retries=0,
            default_headers=headers,
        )

    async def ask(self, client: Any, body: Mapping[str, Any]) -> Reply | Failure:
        """body: of `chat_request`."""
        from openai import Omit

        request = client.chat.completions.create(
            model=self.model,
            messages=body["messages"],
            extra_body={name: value for name, value in body.items() if name != "messages"},
            extra_headers=None if self.key else {"Authorization": Omit()},
        )
        try:
            return _reply(await asyncio.wait_for(request, self.timeout))
        except Exception as error:
            return self._failure(error)

    def _failure(self, error: Exception) -> Failure:
        import httpx2
        from openai import APIConnectionError, APIStatusError

        if isinstance(error, APIStatusError):
            return self._status(error.status_code, error.message, error.response.headers)
        cause = error.__cause__ if isinstance(error, APIConnectionError) else error
        if isinstance(cause, (TimeoutError, httpx2.TimeoutException)):
            return Failure(f"no reply within {self.timeout:g} s (--timeout)", True)
        if isinstance(cause, httpx2.ConnectError):
            return Failure(f"nothing listens there ({self._shown(cause)})", True, down=True)
        if isinstance(cause, (httpx2.RequestError, OSError)):
            return Failure(f"the connection broke ({self._shown(cause)})", True)
        if isinstance(cause, (ValueError, RecursionError)):  # ours, or of a parser
            return Failure(f"the reply is no chat completion ({self._shown(cause)})", True)
        raise error

    def _status(self, status: int, said: Any, headers: Mapping[str, str]) -> Failure:
        why = f"HTTP {status}: {self._shown(said)}"
        if status in BUSY or status >= 500:
            return Failure(why, True, _wait(headers), status)
        if status in (401, 403):
            key = f"the key in {self.key_name}" if self.key else f"no key, {self.key_name} is empty"
            why += f"; it was given {key}; --api-key-env names another variable"
        elif status == 404:
            why += f"; is there a model {self.model}, and does the address end as in /v1?"
        elif status < 400:
            why = f"HTTP {status}; it redirects, which is not followed"
        return Failure(why, False, None, status)

    def _shown(self, said: Any) -> str:
        """Words of others, on one line and without the key."""
        text = " ".join(str(said or type(said).__name__).split())
        return (text.replace(self.key, "***") if self.key else text)[:300]


async def _bounded(response: Any) -> None:
    """Of each response, before it is read: not packed, and up to a size."""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise ValueError("it is packed, and is not unpacked")
    response.stream = _limited(response.stream)


def _limited(stream: Any) -> Any:
    import httpx2

    class Limited(httpx2.AsyncByteStream):
        async def __aiter__(self) -> Any:
            size = 0
            async for part in stream:
                size += len(part)
                if size > LARGEST_REPLY:
                    raise ValueError(f"it is larger than {LARGEST_REPLY} bytes")
                yield part

        async def aclose(self) -> None:
            await stream.aclose()

    return Limited()


def _reply(found: Any) -> Reply:
    """Of a chat completion; ValueError for anything else.

    Thoughts that the endpoint cut off are put back in front, where a record keeps them; a refusal
    is the response that it stands for.
    """
    try:
        choice = found.choices[0]
        message = choice.message
        content = message.content
    except (AttributeError, LookupError, TypeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}"[:200]) from None
    if isinstance(content, list):
        content = content_text(content)
    thoughts = getattr(message, "reasoning_content", None) or getattr(message, "reasoning", None)
    text = content if isinstance(content, str) else getattr(message, "refusal", None) or ""
    if isinstance(thoughts, str) and thoughts:
        text = f"{OPENING}{thoughts}" + (f"{CLOSING}{text}" if isinstance(content, str) else "")
    usage = found.usage
    counts = getattr(usage, "prompt_tokens", None), getattr(usage, "completion_tokens", None)
    counted = all(type(count) is int for count in counts)
    return Reply(str(text), choice.finish_reason == "length", counts if counted else None)  # type: ignore[arg-type]


def _wait(headers: Mapping[str, str]) -> float | None:
    """The seconds of Retry-After, which may also be a date."""
    value = headers.get("retry-after", "")
    try:
        return max(float(value), 0.0)
    except ValueError:
        pass
    try:
        return max(parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
    except (ValueError, TypeError):
        return None
