"""What the rewards read in an untrusted completion, and what they refuse to pay for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from percbal.responses.spans import Spans, find_spans

LONGEST = 4096  # words of a perception; longer ones earn nothing
WORD = re.compile(r"""[^\s,;"'`\[\](){}]+""")
AT_ENDS = ".:!?"


def completion_text(completion: Any) -> str:
    """What the model wrote: a string, or the assistant's turns of a conversation.

    Anything else reads as no text, since a completion is untrusted.
    """
    if isinstance(completion, str):
        return completion
    if not isinstance(completion, (list, tuple)):
        return ""
    turns = [turn for turn in completion if isinstance(turn, dict)]
    return "\n".join(content_text(t.get("content")) for t in turns if t.get("role") == "assistant")


def content_text(content: Any) -> str:
    """The text of a message's content, a string or a list of parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, (list, tuple)):
        return ""
    texts = [part.get("text") for part in content if isinstance(part, dict)]
    return "".join(text for text in texts if isinstance(text, str))


def read_parts(completions: Sequence[Any]) -> list[Spans]:
    """The three spans of each completion, by the rule of `percbal.responses.spans`."""
    return [find_spans(completion_text(completion)) for completion in completions]


def words(text: str) -> list[str]:
    """Lower-case words without quotes, brackets, commas and closing punctuation."""
    stripped = (word.strip(AT_ENDS) for word in WORD.findall(text.casefold()))
    return [word for word in stripped if word]


def readable(perceived: list[str]) -> bool:
    """Whether a perception of these words may earn anything: neither empty nor enormous."""
    return 0 < len(perceived) <= LONGEST


def copies_an_answer(
    perceived: list[str], answers: Iterable[str | None], truth: str | None = None
) -> bool:
    """Whether the perceived words contain an answer, word for word.

    truth: p*, if it is known; an answer that stands in it can be perceived and is no copy.
    """
    shown = words(truth) if isinstance(truth, str) else []
    for answer in answers:
        part = words(answer) if isinstance(answer, str) else []
        if part and _contains(perceived, part) and not _contains(shown, part):
            return True
    return False


def _contains(whole: list[str], part: list[str]) -> bool:
    return f" {' '.join(part)} " in f" {' '.join(whole)} "  # no word has a space in it
