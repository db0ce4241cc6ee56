"""What counts as a span of a response: the one rule, for scoring, rewards and training.

A response is ``<perception> .. </perception> <reasoning> .. </reasoning> <answer> .. </answer>``.
A span counts if

- each of its two tags occurs exactly once in the whole text, the opening one first: a second
  perception is not a correction but no perception;
- no tag of any span stands in between;
- the spans of which the first holds begin in the order perception, reasoning, answer: otherwise
  none of them counts.

A span that does not count spoils no other one unless the order does. Text outside the spans is
free. `percbal_ops.score_text` has the same rule in C++ and over bytes; tests hold the two to each
other.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, NamedTuple

Status = Literal["ok", "missing", "unclosed", "unopened", "repeated", "nested", "disordered"]


@dataclass(frozen=True)
class Tags:
    """The tag strings around each part of a response, opening and closing.

    Raises ValueError for an empty tag and for one that another one contains: it would occur more
    than once in every response.
    """

    perception: tuple[str, str] = ("<perception>", "</perception>")
    reasoning: tuple[str, str] = ("<reasoning>", "</reasoning>")
    answer: tuple[str, str] = ("<answer>", "</answer>")

    def __post_init__(self) -> None:
        words = self.words()
        for i, tag in enumerate(words):
            around = [other for j, other in enumerate(words) if j != i and tag in other]
            if not tag or around:
                why = f"stands in {around[0]!r}, too" if tag else "is empty"
                raise ValueError(f"a tag must be unmistakable, {tag!r} {why}")

    def pairs(self) -> dict[str, tuple[str, str]]:
        """Name of a span -> its tags, in the order in which a response has them."""
        return {name: getattr(self, name) for name in NAMES}

    def words(self) -> tuple[str, ...]:
        """All six, in that order."""
        return tuple(tag for pair in self.pairs().values() for tag in pair)


NAMES = tuple(field.name for field in fields(Tags))
DEFAULT_TAGS = Tags()


class Span(NamedTuple):
    """Where the text between two tags begins and ends, in characters; -1 unless it counts."""

    status: Status
    start: int = -1
    end: int = -1


@dataclass(frozen=True)
class Spans:
    """The spans of one text: which count, what is in them, and what is wrong with the others."""

    source: str
    tags: Tags
    found: dict[str, Span]  # by name, in order

    @property
    def perception(self) -> str | None:
        """The text between the tags, None where the span does not count."""
        return self._inside("perception")

    @property
    def reasoning(self) -> str | None:
        return self._inside("reasoning")

    @property
    def answer(self) -> str | None:
        return self._inside("answer")

    @property
    def complete(self) -> bool:
        """All three count, and there is nothing but space around them."""
        position = 0
        for name, (status, start, end) in self.found.items():
            opening, closing = getattr(self.tags, name)
            if status != "ok" or self.source[position : start - len(opening)].strip():
                return False
            position = end + len(closing)
        return not self.source[position:].strip()

    @property
    def problems(self) -> tuple[str, ...]:
        """A sentence for each span that does not count; one for all that are out of order."""
        return tuple(dict.fromkeys(filter(None, map(self.problem, self.found))))

    def problem(self, name: str) -> str:
        """Why the span ``name`` does not count, empty where it does."""
        status = self.found[name].status
        if status == "ok":
            return ""
        opening, closing = getattr(self.tags, name)
        if status == "disordered":
            places = {n: self.source.find(pair[0]) for n, pair in self.tags.pairs().items()}
            order = [n for n in sorted(places, key=places.__getitem__) if self._is_pair(n)]
            return f"the spans are in the order {', '.join(order)}"
        if status != "nested":
            # the tag that is not there once; of two, the first
            tag = opening if _count(self.source, opening) != 1 else closing
            return f"{tag} occurs {_count(self.source, tag)} times, not once"
        start, end = self.source.find(opening) + len(opening), self.source.find(closing)
        if end < start:
            return f"{closing} comes before {opening}"
        return f"{_tag_in(self.source, start, end, self.tags)} occurs inside the {name} span"

    def _inside(self, name: str) -> str | None:
        status, start, end = self.found[name]
        return self.source[start:end] if status == "ok" else None

    def _is_pair(self, name: str) -> bool:
        return _pair(self.source, *getattr(self.tags, name)).status == "ok"


def find_spans(text: str, tags: Tags = DEFAULT_TAGS) -> Spans:
    """Find the three spans of untrusted text, in time linear in its length; nothing raises."""
    found = {name: _pair(text, *pair) for name, pair in tags.pairs().items()}
    begins = [span.start for span in found.values() if span.status == "ok"]
    ordered = begins == sorted(begins)
    for name, (status, start, end) in found.items():
        if status == "ok" and _tag_in(text, start, end, tags):
            found[name] = Span("nested")
        elif status == "ok" and not ordered:
            found[name] = Span("disordered")
    return Spans(text, tags, found)


def _pair(text: str, opening: str, closing: str) -> Span:
    """A span by its own two tags, whatever is in it and around it."""
    opened, closed = text.find(opening), text.find(closing)
    if _again(text, opening, opened) or _again(text, closing, closed):
        return Span("repeated")
    if opened < 0:
        return Span("missing" if closed < 0 else "unopened")
    start = opened + len(opening)
    if closed < 0:
        return Span("unclosed")
    return Span("ok", start, closed) if start <= closed else Span("nested")


def _again(text: str, tag: str, first: int) -> bool:
    return first >= 0 and text.find(tag, first + 1) >= 0


def _tag_in(text: str, start: int, end: int, tags: Tags) -> str | None:
    return next((tag for tag in tags.words() if text.find(tag, start, end) >= 0), None)


def _count(text: str, tag: str) -> int:
    """How often it occurs, overlaps included."""
    count, at = 0, text.find(tag)
    while at >= 0:
        count, at = count + 1, text.find(tag, at + 1)
    return count
