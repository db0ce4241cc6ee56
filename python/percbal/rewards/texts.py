"""What the rewards read in an untrusted completion, and what they refuse to pay for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from percbal.responses.copied import copies_an_answer, words
from percbal.responses.labels import label_text
from percbal.responses.prompt import content_text
from percbal.responses.spans import Spans, find_spans
from percbal.responses.thoughts import without_thoughts

MOST_ITEMS = 2  # times those of p*; naming everything possible is not perceiving
LONGEST = 4096  # words of a perception; longer ones earn nothing


def completion_text(completion: Any) -> str:
    """What the model wrote behind its thoughts: a string, or a conversation's assistant turns.

    Anything else reads as no text, since a completion is untrusted.
    """
    return without_thoughts(_whole_text(completion))


def _whole_text(completion: Any) -> str:
    if isinstance(completion, str):
        return completion
    if not isinstance(completion, (list, tuple)):
        return ""
    turns = [turn for turn in completion if isinstance(turn, dict)]
    return "\n".join(content_text(t.get("content")) for t in turns if t.get("role") == "assistant")


def read_parts(completions: Sequence[Any]) -> list[Spans]:
    """The three spans of each completion, by the rule of `percbal.responses.spans`."""
    return [find_spans(completion_text(completion)) for completion in completions]


def labels(column: Sequence[Any] | None, name: str, rows: int) -> list[str | None]:
    """A column of labels, None where there is none: ``rows`` of them without the column.

    Raises ValueError for a label that is no text; it names the row.
    """
    if column is None:
        return [None] * rows
    return [label_text(value, f"{name} of row {i}") for i, value in enumerate(column)]


def earning_words(parts: Spans, answer: str | None, shown: str | None) -> list[str]:
    """The words of a perception that may earn something; none of one that may not.

    Not of one that is not ``readable``, nor of one that copies an answer, the completion's own or
    the label ``answer``, where the label of the perception, ``shown``, does not have it.
    """
    perceived = words(parts.perception or "")
    copied = copies_an_answer(perceived, (parts.answer, answer), shown)
    return perceived if readable(perceived) and not copied else []


def readable(perceived: list[str]) -> bool:
    """Whether a perception of these words may earn anything: neither empty nor enormous."""
    return 0 < len(perceived) <= LONGEST
