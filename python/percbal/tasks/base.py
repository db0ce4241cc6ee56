"""What a diagnostic task is: an image, a query, and a response in three tagged spans.

A response is ``<perception> .. </perception>``, ``<reasoning> .. </reasoning>`` and
``<answer> .. </answer>``: what the picture shows, how to get from there to the answer, and the
answer. Tasks make such responses and score untrusted ones; they know nothing of tokens, models
or trainers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from percbal.responses.spans import DEFAULT_TAGS
from percbal.responses.spans import Spans as Spans  # a task reads completions by these
from percbal.responses.spans import find_spans as find_spans
from percbal.tasks.splits import SPLITS as SPLITS

if TYPE_CHECKING:
    from PIL.Image import Image

SPAN_TAGS = DEFAULT_TAGS.pairs()
TAG_WORDS = DEFAULT_TAGS.words()

Table = list[list[tuple[str, bool]]]  # rows of (text, is it right)
Place = tuple[tuple[float, float], ...]
"""Points in shares of a picture's width and height, from its left upper corner: one is a point, two
are a line, more an outline."""
WrongPart = tuple[str, str | None, str | None]
"""Its name, what the picture shows there, and what was seen; None for nothing.

Of an answer: what is right there, None where more than one may be, and what was answered."""


def tagged(name: str, text: str) -> str:
    """``text`` between the tags of span ``name``, one space apart."""
    opening, closing = SPAN_TAGS[name]
    return f"{opening} {text} {closing}"


@dataclass(frozen=True)
class Instance:
    """One example: what the model sees and is asked, and what a right response looks like."""

    task: str
    index: int
    image: Image
    query: str  # the user's words, without a mark for the image
    perception: str  # p*: the canonical text of what the image shows
    reasoning: str  # a solver's chain of thought from p* to the answer
    answer: str  # canonical text of one right answer
    truth: dict[str, Any]  # what ``Task.score`` needs; survives a round trip through JSON

    @property
    def segments(self) -> list[dict[str, str]]:
        """The response cut in three, ``{"type": .., "text": ..}`` each, the types as in the data.

        Trained on two segments, the answer belongs to the reasoning. The texts concatenate to
        ``response``.
        """
        return [
            {"type": "perception", "text": tagged("perception", self.perception)},
            {"type": "reasoning", "text": f" {tagged('reasoning', self.reasoning)}"},
            {"type": "answer", "text": f" {tagged('answer', self.answer)}"},
        ]

    @property
    def response(self) -> str:
        """The whole target text, three tagged spans with one space between words."""
        return "".join(segment["text"] for segment in self.segments)


@dataclass(frozen=True)
class Score:
    """How right a completion is. ``None`` means that it could not be told, and ``reason`` why.

    answer: the answer is right by the task's constraints; None without one answer span.
    perception: the perceived text is exactly p*; None without one perception span.
    perception_f1: share of p*'s parts that are right, in [0, 1]; 0 for a malformed span.
    reasoning: the answer is right for what the completion itself says it perceived;
        None without an answer span or where the perceived text is malformed.
    parsed: exactly the three well-formed spans in order, and nothing but space around them.
    named: how many items the perceived problem has for each of p*, such as edges; 0 where it or
        p* has none that can be counted.

    An accuracy counts ``None`` as not right: ``score.answer is True``.
    """

    answer: bool | None
    perception: bool | None
    perception_f1: float
    reasoning: bool | None
    parsed: bool
    reason: str = ""
    named: float = 0.0


class Task(Protocol):
    """A source of instances and the judge of completions."""

    name: str
    grammar: str  # of `percbal_ops.score_text`, in which p* is written

    def generate(self, index: int, split: str, seed: int) -> Instance:
        """The instance at ``index`` of a split: a function of its three arguments alone."""
        ...

    def score(self, completion: str, truth: dict[str, Any]) -> Score:
        """Judge a completion against an instance's ``truth``; no text makes it raise."""
        ...

    def marked(self, completion: str, truth: dict[str, Any]) -> dict[str, Table]:
        """What the completion saw and answered, part by part, for a person to look at.

        Name -> rows of (text, is it right); a span that cannot be read has no table.
        """
        ...

    def oracle_prefix(self, instance: Instance) -> str:
        """The response up to and with the perception's closing tag, to measure a_r from."""
        ...

    def vocabulary(self) -> list[str]:
        """Every whitespace-separated word that the task's texts can contain, tags included."""
        ...

    def describe(self) -> str:
        """One sentence: the task and the options it was made with."""
        ...
