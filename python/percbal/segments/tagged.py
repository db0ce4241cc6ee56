"""Which tokens of a response are in which segment: by default, perception and reasoning.

A response is cut on its characters, then each token takes the segment of the characters that it
covers. The cut comes from the response's format, from a list of texts, or from character spans.
Unless it is a segment of its own, the answer counts as reasoning, and so does everything that
nothing marks: the segments together are exactly the tokens that plain supervised fine-tuning
trains on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from percbal.responses.format_tags import TagFormat
from percbal.responses.formats import Format
from percbal.responses.spans import Tags
from percbal.responses.thoughts import response_start
from percbal.segments.names import OTHER as OTHER
from percbal.segments.names import PERCEPTION as PERCEPTION
from percbal.segments.names import REASONING as REASONING
from percbal.segments.names import TWO, Segments
from percbal.segments.parts import Span, marked
from percbal.segments.places import Places, response_places

TagTokens = Literal["segment", "other"]


class SegmentError(ValueError):
    """A response that cannot be cut into segments; the message names the example."""


def spans_from_format(
    text: str,
    response_format: Format,
    response: str | None = None,
    *,
    end: int | None = None,
    named: Segments = TWO,
    tag_tokens: TagTokens = "segment",
    name: str = "the response",
) -> list[Span]:
    """Cut a response as its format reads it: each segment with its marks, and the rest.

    The perception must count (`percbal.responses.formats`), so that nothing is trained on as
    perception that scoring calls none. Other segments need not be there, but if they are they must
    count, too. A segment that is no part of the format stands between tags of its name, as often as
    there are.

    tag_tokens: "segment" gives each mark to the part that it encloses; "other" puts all marks in
        no segment, so that they are not trained on.
    response: what the format reads, where ``text`` has more around it, as a chat template adds.
    end: where it ends in ``text``; None for its last occurrence.
    name: what to call the response in an error, such as "example 17".
    Returns spans that cover the text from end to end; where they overlap, the later one holds.
    Raises SegmentError where a segment does not count; it says why.
    """
    said = text if response is None else response
    places = _places(text, said, end, name)
    thoughts = response_start(said)
    try:
        found = marked(response_format.read(said), named, thoughts)
        # the template may close thoughts that the response does not have
        before, ends = places.area(0, thoughts)
        ends = ends if thoughts else response_start(text[:before])
        spans = [(0, ends, named.id_of("think"))] if ends else []
    except ValueError as problem:
        raise SegmentError(
            f"{name} has a part of no segment, {problem}: {_excerpt(said)}"
        ) from None
    for segment, why in found.problems.items():
        raise SegmentError(f"{name} has no {segment} that counts, {why}: {_excerpt(said)}")
    spans = [(0, len(text), named.rest), *spans]
    spans += [(*places.area(first, last), segment) for first, last, segment in found.spans]
    if tag_tokens == "other":
        marks = (*response_format.marks(said), *found.tags)
        spans += [(*places.area(*mark), OTHER) for mark in marks]
    return spans


def spans_from_tags(
    text: str, tags: Tags, *, tag_tokens: TagTokens = "segment", name: str = "the response"
) -> list[Span]:
    """``spans_from_format`` of tags; a second perception makes both none."""
    return spans_from_format(text, TagFormat(tags), tag_tokens=tag_tokens, name=name)


def spans_from_segments(
    text: str,
    segments: Sequence[Mapping[str, str]],
    response: str | None = None,
    *,
    end: int | None = None,
    named: Segments = TWO,
    name: str = "the response",
) -> list[Span]:
    """Cut a response by a list of ``{"type": .., "text": ..}`` whose texts make it up.

    type: the name of a segment, or "other" (no segment); "answer" and "think" are reasoning unless
        they are named. Characters of ``text`` around the listed texts, as a chat template adds
        them, are the rest (`Segments.rest`).
    response: what the texts must make up, but for the space around it; None for what they do.
    end: where the response ends in ``text``; None for its last occurrence.
    Raises SegmentError for an unknown type, for texts that do not make up the response, and where
    the response is not in ``text``.
    """
    for number, segment in enumerate(segments):
        if not isinstance(segment, Mapping) or not isinstance(segment.get("text"), str):
            raise SegmentError(f"{name} has in segments the entry {number} without a text")
    whole = "".join(segment["text"] for segment in segments)
    if response is not None and whole.strip() != response.strip():
        raise SegmentError(
            f"{name} is not made up of its segments' texts: it is {_excerpt(response)}, and they "
            f"are {_excerpt(whole)}"
        )
    places = response_places(text, whole, end)
    if places is None:
        raise SegmentError(f"{name} is not made up of its segments' texts: {_excerpt(whole)}")
    spans: list[Span] = [(0, len(text), named.rest)]
    first = 0
    for segment in segments:
        number = _id_of(segment.get("type"), named, f"{name} has a segment")
        last = first + len(segment["text"])
        spans.append((*places.area(first, last), number))
        first = last
    return spans


def spans_from_characters(
    text: str,
    spans: Sequence[Mapping[str, Any]],
    response: str | None = None,
    *,
    end: int | None = None,
    named: Segments = TWO,
    name: str = "the response",
) -> list[Span]:
    """Cut a response by a list of ``{"type": .., "start": .., "end": ..}``, in characters.

    type: as in ``spans_from_segments``. Characters that no span holds are the rest.
    response: the text that start and end count in, where ``text`` has more around it, as a chat
        template adds; without the space around it and around ``</think>``, if need be, as some
        templates strip it.
    end: where the response ends in ``text``; None for its last occurrence.
    Raises SegmentError for an unknown type, for places that are not in the response, and for two
    spans that overlap; it names the span.
    """
    response = text if response is None else response
    places = _places(text, response, end, name)
    for number, span in enumerate(spans):
        if not isinstance(span, Mapping):
            raise SegmentError(f"{name} has in spans the entry {number}, which is {span!r:.60}")
    out: list[Span] = [(0, len(text), named.rest)]
    last = 0
    for number, span in sorted(enumerate(spans), key=lambda item: _start_of(item[1])):
        who = f"{name} has in spans the entry {number}"
        segment = _id_of(span.get("type"), named, who)
        start, stop = _place(span, len(response), who)
        if start < last:
            raise SegmentError(f"{name} has two spans over character {start}, see entry {number}")
        last = stop
        out.append((*places.area(start, stop), segment))
    return out


def _places(text: str, response: str, end: int | None, name: str) -> Places:
    places = response_places(text, response, end)
    if places is None:
        raise SegmentError(f"{name} is not in its own text: {_excerpt(response)}")
    return places


def _id_of(kind: Any, named: Segments, who: str) -> int:
    try:
        return named.id_of(str(kind))
    except ValueError as problem:
        raise SegmentError(f"{who} of type {kind!r}; {problem}") from None


def _start_of(span: Mapping[str, Any]) -> int:
    start = span.get("start")
    return start if isinstance(start, int) else -1


def _place(span: Mapping[str, Any], length: int, who: str) -> tuple[int, int]:
    start, end = span.get("start"), span.get("end")
    if isinstance(start, int) and isinstance(end, int) and 0 <= start <= end <= length:
        return start, end
    raise SegmentError(
        f"{who} from {start!r} to {end!r}; its places must be numbers with "
        f"0 <= start <= end <= {length}, the length of the response"
    )


def token_segments(
    text: str, spans: Sequence[Span], offsets: np.ndarray, named: Segments = TWO
) -> np.ndarray:
    """Segment of each token from the characters it covers.

    A token that touches several segments goes to the first of `Segments.strongest_first`, to
    perception if it touches perception at all, to none only if it touches no segment: the rare
    token that straddles a border is counted with the short segment. A token without characters
    takes the segment of the character that follows.
    Where spans overlap, the later span holds.

    text: the text that was tokenised. offsets: (T, 2) int, first and last (excluded) character.
    Returns (T,) int64 of the segments' ids and OTHER.
    """
    characters = np.full(len(text) + 1, OTHER, dtype=np.int64)
    for start, end, segment in spans:
        characters[start:end] = segment
    if len(text):
        characters[-1] = characters[-2]  # for a token without characters at the very end
    first, last = offsets[:, 0], np.maximum(offsets[:, 1], offsets[:, 0] + 1)
    segments = np.full(len(offsets), OTHER, dtype=np.int64)
    for segment in reversed(named.strongest_first):  # the last one wins
        seen = np.concatenate(([0], np.cumsum(characters == segment)))
        segments[seen[last] > seen[first]] = segment
    return segments


def _excerpt(text: str, width: int = 60) -> str:
    return repr(text if len(text) <= width else text[:width] + "...")
