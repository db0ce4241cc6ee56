"""A question as other engines take it: the body of a request to an OpenAI-compatible endpoint.

vLLM, SGLang and commercial endpoints are asked so, and files of requests are written so.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal

from percbal.evaluate.questions import MOST_NEW_TOKENS, Question
from percbal.responses.format_base import Format
from percbal.responses.prompt import OPTIONS, content_text, without_options
from percbal.responses.thoughts import response_start

if TYPE_CHECKING:
    from PIL.Image import Image

Told = Literal["prefix", "text"]
TOLD: tuple[Told, ...] = ("prefix", "text")
CONTINUED = {"continue_final_message": True, "add_generation_prompt": False}
PNG_MODES = ("1", "L", "LA", "I", "I;16", "P", "RGB", "RGBA")  # others become RGB


def chat_request(
    question: Question,
    told: Told | None = None,
    *,
    most: int | None = None,
    picture: Callable[[Image], str] | None = None,
) -> dict[str, Any]:
    """The body of a request, without the name of the model; greedy.

    told: a_r's request. "prefix": the last message is the beginning of the response, which vLLM
        and SGLang continue. "text": the beginning stands in the prompt.
    most: tokens of the response. Without it there may be as many as the true one has characters,
        since nobody here knows how the endpoint counts; 1024 where there is no true one.
    picture: the address of an image; by default its PNG itself, as a data URL.
    """
    messages, options = without_options(question.prompt())
    messages = [_message(message, picture or data_url) for message in messages]
    begun = ""
    if messages[-1]["role"] == "assistant":  # it is continued, as everywhere
        begun = content_text(messages.pop()["content"])
    if told == "prefix":
        begun += question.beginning
    elif told == "text":
        messages = _with_words(messages, told_in_words(question.beginning))
    body: dict[str, Any] = {"messages": messages, "temperature": 0}
    body["max_tokens"] = most or (len(question.target) if question.target else MOST_NEW_TOKENS)
    if options:
        body[OPTIONS] = options
    if begun:
        messages.append({"role": "assistant", "content": begun})
        body |= CONTINUED
    return body


def check_body(body: Mapping[str, Any]) -> None:
    """ValueError for fields that ask for several completions at once, of which one is read."""
    if body.get("n") not in (None, 1):
        raise ValueError(
            f"one completion of a request is read: n must be 1 in the body, or left out, got "
            f"{body['n']!r:.40}"
        )


def told_in_words(beginning: str) -> str:
    """What a prompt says where a response cannot be made to begin so."""
    return (
        "This is the right beginning of your response; what it says of the image is true. Write "
        f"the whole response, beginning with it word for word:\n\n{beginning}"
    )


def joined(beginning: str, text: str, chosen: Format) -> str:
    """A whole response of somebody who was given its beginning and may have left it out."""
    if repeats(beginning, text) or begins_anew(beginning, text, chosen):
        return text
    return _behind(beginning, text)


def repeats(beginning: str, text: str) -> bool:
    """Whether a response has the beginning that it was to go on behind, in its first place."""
    return text[response_start(text) :].lstrip().startswith(beginning.strip())


def begins_anew(beginning: str, text: str, chosen: Format) -> bool:
    """Whether a response that was to go on behind a beginning has a perception of its own instead.

    What looks like a perception may be the answer: the first list of `paper`, the only block of
    `fence`. So the text is read alone and behind the beginning, and it has an own one if it then
    reads worse: if its answer is lost, or other parts. Where both read alike, if it stands first.
    """
    alone = chosen.read(text)
    if repeats(beginning, text) or "perception" not in alone.parts:
        return False
    before = text[response_start(text) : alone.parts["perception"].outer[0]]
    first = not before.strip()
    if not first and "reasoning" not in alone.parts:
        return False  # the reasoning stands before it
    behind = chosen.read(_behind(beginning, text))
    if ("answer" in alone.parts) != ("answer" in behind.parts):
        return "answer" in alone.parts
    return first or len(behind.parts) < len(alone.parts)


def _behind(beginning: str, text: str) -> str:
    start = response_start(text)
    return text[:start] + beginning + text[start:]


def data_url(image: Image) -> str:
    """The picture itself as an address, without loss."""
    return f"data:image/png;base64,{base64.b64encode(png(image)).decode()}"


def png(image: Image) -> bytes:
    file = BytesIO()
    (image if image.mode in PNG_MODES else image.convert("RGB")).save(file, "PNG")
    return file.getvalue()


def _message(message: Mapping[str, Any], picture: Callable[[Image], str]) -> dict[str, Any]:
    content = message.get("content")
    if isinstance(content, list) and any(part["type"] == "image" for part in content):
        parts = [_part(part, picture) for part in content]
        return {"role": message["role"], "content": parts}
    return {"role": message["role"], "content": content_text(content)}


def _part(part: Mapping[str, Any], picture: Callable[[Image], str]) -> dict[str, Any]:
    if part["type"] == "image":
        return {"type": "image_url", "image_url": {"url": picture(part["image"])}}
    return {"type": "text", "text": part["text"]}


def _with_words(messages: list[dict[str, Any]], words: str) -> list[dict[str, Any]]:
    """The last message of the user says this, too."""
    at = max(i for i, message in enumerate(messages) if message["role"] == "user")
    content = messages[at]["content"]
    if isinstance(content, str):
        content = f"{content}\n\n{words}"
    else:
        content = [*content, {"type": "text", "text": words}]
    return [*messages[:at], {**messages[at], "content": content}, *messages[at + 1 :]]
