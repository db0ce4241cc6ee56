"""Which tokens of a response are perception and which are reasoning.

A response is cut on its characters, then each token takes the segment of the characters that it
covers. The cut comes from the response's format, from a list of texts, or from character spans. The
answer counts as reasoning, and so does everything else in the response that is not perception:
the two segments together are exactly the tokens that plain supervised fine-tuning trains on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from percbal.responses.format_tags import TagFormat
from percbal.responses.formats import Format
from percbal.responses.spans import Tags

PERCEPTION = 0
REASONING = 1
OTHER = -1  # in no segment: prompt, image, padding, and tags where they are not trained on
SEGMENT_NAMES = ("perception", "reasoning")
N_SEGMENTS = len(SEGMENT_NAMES)

TagTokens = Literal["segment", "other"]
Span = tuple[int, int, int]  # start and end character (end excluded), segment

SEGMENT_OF_TYPE = {
    "perception": PERCEPTION,
    "reasoning": REASONING,
    "answer": REASONING,
    "other": OTHER,
}


class SegmentError(ValueError):
    """A response that cannot be cut into segments; the message names the example."""


def spans_from_format(
    text: str,
    response_format: Format,
    *,
    tag_tokens: TagTokens = "segment",
    name: str = "the response",
) -> list[Span]:
    """Cut a response as its format reads it: the perception with its marks, and the rest.

    The perception must count (`percbal.responses.formats`), so that nothing is trained on as
    perception that scoring calls none. The other two parts need not be there.

    tag_tokens: "segment" gives each mark to the part that it encloses; "other" puts all marks in
        no segment, so that they are not trained on.
    name: what to call the response in an error, such as "example 17".
    Returns spans that cover the text from end to end; where they overlap, the later one holds.
    Raises SegmentError where the perception does not count; it says why.
    """
    reading = response_format.read(text)
    if problem := reading.problem("perception"):
        raise SegmentError(f"{name} has no perception that counts, {problem}: {_excerpt(text)}")
    start, end = reading.parts["perception"].outer
    spans = [(0, start, REASONING), (start, end, PERCEPTION), (end, len(text), REASONING)]
    if tag_tokens == "other":
        spans += [(*area, OTHER) for area in response_format.marks(text)]
    return spans


def spans_from_tags(
    text: str, tags: Tags, *, tag_tokens: TagTokens = "segment", name: str = "the response"
) -> list[Span]:
    """``spans_from_format`` of tags; a second perception makes both none."""
    return spans_from_format(text, TagFormat(tags), tag_tokens=tag_tokens, name=name)


def spans_from_segments(
    text: str, segments: Sequence[Mapping[str, str]], *, name: str = "the response"
) -> list[Span]:
    """Cut a response by a list of ``{"type": .., "text": ..}`` whose texts make it up.

    type: "perception", "reasoning", "answer" (reasoning) or "other" (no segment). Characters of
    ``text`` around the listed texts, as a chat template adds them, are reasoning.
    Raises SegmentError for an unknown type, or where the texts are not in ``text``.
    """
    whole = "".join(segment["text"] for segment in segments)
    start = text.find(whole)
    if start < 0:  # chat templates strip the space around a message
        start = text.find(whole.strip()) - (len(whole) - len(whole.lstrip()))
        if whole.strip() not in text:
            raise SegmentError(f"{name} is not made up of its segments' texts: {_excerpt(whole)}")
    spans: list[Span] = [(0, len(text), REASONING)]
    for segment in segments:
        if segment["type"] not in SEGMENT_OF_TYPE:
            raise SegmentError(
                f"{name} has a segment of type {segment['type']!r}; the types are "
                f"{', '.join(SEGMENT_OF_TYPE)}"
            )
        end = start + len(segment["text"])
        spans.append((max(start, 0), max(end, 0), SEGMENT_OF_TYPE[segment["type"]]))
        start = end
    return spans


def spans_from_characters(
    text: str,
    spans: Sequence[Mapping[str, Any]],
    response: str | None = None,
    *,
    name: str = "the response",
) -> list[Span]:
    """Cut a response by a list of ``{"type": .., "start": .., "end": ..}``, in characters.

    type: as in ``spans_from_segments``. Characters that no span holds are reasoning.
    response: the text that start and end count in, where ``text`` has more around it, as a chat
        template adds; without the space around it, if need be, as some templates strip it.
    Raises SegmentError for an unknown type, for places that are not in the response, and for two
    spans that overlap; it names the span.
    """
    response = text if response is None else response
    shift = text.find(response)
    if shift < 0:
        shift = text.find(response.strip()) - (len(response) - len(response.lstrip()))
        if response.strip() not in text:
            raise SegmentError(f"{name} is not in its own text: {_excerpt(response)}")
    out: list[Span] = [(0, len(text), REASONING)]
    last = 0
    for number, span in sorted(enumerate(spans), key=lambda item: _start_of(item[1])):
        start, end = _place(span, len(response), f"{name} has in spans the entry {number}")
        if start < last:
            raise SegmentError(f"{name} has two spans over character {start}, see entry {number}")
        last = end
        out.append((max(start + shift, 0), max(end + shift, 0), SEGMENT_OF_TYPE[span["type"]]))
    return out


def _start_of(span: Mapping[str, Any]) -> int:
    start = span.get("start")
    return start if isinstance(start, int) else -1


def _place(span: Mapping[str, Any], length: int, who: str) -> tuple[int, int]:
    if str(span.get("type")) not in SEGMENT_OF_TYPE:
        raise SegmentError(
            f"{who} of type {span.get('type')!r}; the types are {', '.join(SEGMENT_OF_TYPE)}"
        )
    start, end = span.get("start"), span.get("end")
    if isinstance(start, int) and isinstance(end, int) and 0 <= start <= end <= length:
        return start, end
    raise SegmentError(
        f"{who} from {start!r} to {end!r}; its places must be numbers with "
        f"0 <= start <= end <= {length}, the length of the response"
    )


def token_segments(text: str, spans: Sequence[Span], offsets: np.ndarray) -> np.ndarray:
    """Segment of each token from the characters it covers.

    A token that touches several segments goes to perception if it touches perception at all,
    else to reasoning, else to none: the rare token that straddles a border is counted with the
    short segment. A token without characters takes the segment of the character that follows.
    Where spans overlap, the later span holds.

    text: the text that was tokenised. offsets: (T, 2) int, first and last (excluded) character.
    Returns (T,) int64 of PERCEPTION, REASONING, OTHER.
    """
    characters = np.full(len(text) + 1, OTHER, dtype=np.int64)
    for start, end, segment in spans:
        characters[start:end] = segment
    if len(text):
        characters[-1] = characters[-2]  # for a token without characters at the very end
    first, last = offsets[:, 0], np.maximum(offsets[:, 1], offsets[:, 0] + 1)
    segments = np.full(len(offsets), OTHER, dtype=np.int64)
    for segment in (REASONING, PERCEPTION):  # perception last: it wins
        seen = np.concatenate(([0], np.cumsum(characters == segment)))
        segments[seen[last] > seen[first]] = segment
    return segments


def _excerpt(text: str, width: int = 60) -> str:
    return repr(text if len(text) <= width else text[:width] + "...")
