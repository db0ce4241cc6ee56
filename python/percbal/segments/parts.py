"""Where a response marks its segments: its thoughts, the parts of its format, tags of their own."""

from __future__ import annotations

import re
from typing import NamedTuple

from percbal.responses.reading import Area, Reading, Refusal
from percbal.segments.names import PARTS, Segments

Span = tuple[int, int, int]  # start and end character (end excluded), segment


class Marked(NamedTuple):
    """What is marked, and what is marked wrongly."""

    spans: list[Span]  # the later one holds
    tags: list[Area]  # of segments with tags of their own
    problems: dict[str, str]  # segment -> why it does not count, in a sentence


def marked(reading: Reading, segments: Segments, thoughts: int) -> Marked:
    """The marked spans of a response, those of the strongest segment last.

    thoughts: where its thoughts end, 0 without any.
    Raises ValueError for a part that no segment is for.
    """
    found = [("think", (0, thoughts))] if thoughts else []
    known = (*PARTS, *segments.names)
    found += [(name, part.outer) for name, part in reading.parts.items() if name in known]
    problems = {
        name: refusal.problem
        for name, refusal in reading.refusals.items()
        if name in segments.names and _must_count(name, refusal, segments)
    }
    tags: list[Area] = []
    for name, pair in segments.tags.items():
        marks = [m.span() for m in re.finditer("|".join(map(re.escape, pair)), reading.source)]
        marks = [mark for mark in marks if mark[0] >= thoughts]
        if [reading.source[slice(*mark)] for mark in marks] != [*pair] * (len(marks) // 2):
            problems[name] = f"{pair[0]} and {pair[1]} do not take turns"
            continue
        tags += marks
        pairs = zip(marks[::2], marks[1::2], strict=True)
        found += [(name, (first[0], last[1])) for first, last in pairs]
    spans = [(*area, segments.id_of(name)) for name, area in found]
    weakest_first = [*reversed(segments.strongest_first)]
    spans.sort(key=lambda span: weakest_first.index(span[2]))
    return Marked(spans, tags, problems)


def _must_count(name: str, refusal: Refusal, segments: Segments) -> bool:
    """A perception always; another segment if it is there, unless it is where the rest goes."""
    if name == "perception":
        return True
    return refusal.reason != "missing" and segments.names.index(name) != segments.rest
