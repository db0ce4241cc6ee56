"""The response formats by their option strings, and how a prompt states one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from percbal.responses.format_base import Format as Format
from percbal.responses.format_json import JsonFormat
from percbal.responses.format_regex import RegexFormat
from percbal.responses.format_tags import TagFormat
from percbal.responses.format_text import FenceFormat, NoFormat, PaperFormat, SeparatorFormat
from percbal.responses.reading import Reading as Reading
from percbal.responses.reading import count_reasons as count_reasons
from percbal.responses.spans import DEFAULT_TAGS, Tags

FORMATS = "tags, json[:KEYS], paper[:TASK], fence[:LANGUAGE], separator:TEXT, regex:PATTERN, none"
Messages = Sequence[Mapping[str, Any]]


def make_format(spec: str = "tags", tags: Tags = DEFAULT_TAGS) -> Format:
    """The format that an option string names, such as ``json`` or ``separator:---``.

    tags: of the format ``tags``; the others do not use them.
    Raises ValueError, in one sentence, for a string that names none.
    """
    kind, colon, rest = spec.partition(":")
    if kind == "tags" and not colon:
        return TagFormat(tags)
    if kind == "none" and not colon:
        return NoFormat()
    wants_rest = kind in ("separator", "regex")
    if kind not in MAKERS or bool(colon and rest) < (wants_rest or bool(colon)):
        raise ValueError(f"unknown response format {spec!r}; the formats are {FORMATS}")
    return MAKERS[kind](rest)


def _json(rest: str) -> JsonFormat:
    if not rest:
        return JsonFormat()
    keys = tuple(key.strip() for key in rest.split(","))
    if len(keys) < 3:
        raise ValueError(
            f"json:KEYS takes three keys or more, such as json:seen,why,answer, got {rest!r}"
        )
    return JsonFormat(keys)


MAKERS: dict[str, Callable[[str], Format]] = {
    "json": _json,
    "paper": lambda rest: PaperFormat(rest or "sudoku"),
    "fence": FenceFormat,
    "separator": SeparatorFormat,
    "regex": RegexFormat,
}


def stated(
    messages: Messages,
    response_format: Format,
    examples: Sequence[Mapping[str, str]] = (),
    *,
    system: bool = False,
) -> list[dict[str, Any]]:
    """The prompt with the format's instruction, after examples of how to follow it.

    messages: of a prompt, contents as strings or lists of parts; they are not changed.
    examples: ``{"prompt": .., "response": ..}`` each, shown as earlier turns, after the system's.
    system: state the format in the system message, else at the end of the last user message.
    Raises ValueError for a prompt without a user message.
    """
    out = [dict(message) for message in messages]
    users = [i for i, message in enumerate(out) if message["role"] == "user"]
    if not users:
        raise ValueError("a prompt that is to state a response format needs a user message")
    parts = isinstance(out[users[-1]]["content"], list)
    instruction = response_format.instruction()
    has_system = out[0]["role"] == "system"
    if instruction and not system:
        out[users[-1]]["content"] = _with(out[users[-1]]["content"], instruction)
    elif instruction and has_system:
        out[0]["content"] = _with(out[0]["content"], instruction)
    shown = [
        {"role": role, "content": _content(example[name], parts)}
        for example in examples
        for role, name in (("user", "prompt"), ("assistant", "response"))
    ]
    first = int(has_system)
    out[first:first] = shown
    if instruction and system and not has_system:
        out.insert(0, {"role": "system", "content": _content(instruction, parts)})
    return out


def _content(text: str, parts: bool) -> str | list[dict[str, str]]:
    return [{"type": "text", "text": text}] if parts else text


def _with(content: Any, instruction: str) -> Any:
    """The content and the instruction, an empty line apart."""
    if isinstance(content, str):
        return f"{content}\n\n{instruction}"
    out = [dict(part) for part in content]
    texts = [part for part in out if part.get("type") == "text" and part.get("text")]
    if texts:
        texts[-1]["text"] = f"{texts[-1]['text']}\n\n{instruction}"
    else:
        out.append({"type": "text", "text": instruction})
    return out
