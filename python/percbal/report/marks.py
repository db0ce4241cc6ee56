"""Where a picture is marked: the parts that a model misread, missed or invented."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from percbal.report.pictures import Shown
from percbal.tasks.base import Place, WrongPart

WIDE = 100.0  # of a picture, in the units of its marks
DOT = 3.0  # radius around a point
CROSS = 2.5  # half the width of a cross on a line
LETTER = 6.5  # height of what was seen
KINDS = {  # of a wrong part -> what it means
    "misread": "it saw what is written small",
    "missed": "it did not see it",
    "invented": "it is not there",
}


class Mark(NamedTuple):
    """kind: of ``KINDS``. path: of its outline; cross: of what crosses it, if it was invented.

    text: what was seen, in letters of a height, which end, or start, at (x, y).
    """

    kind: str
    title: str
    path: str
    cross: str
    text: str
    anchor: str
    x: float
    y: float
    height: float


def marks(wrong: Sequence[WrongPart], shown: Shown | None) -> dict[str, Any]:
    """Those of one picture, how many of each kind, and how many parts have no place there."""
    drawn = [
        mark(part, shown.places[part[0]], WIDE * shown.tall)
        for part in wrong
        if shown is not None and part[0] in shown.places
    ]
    counts = Counter(each.kind for each in drawn)
    return {
        "drawn": drawn,
        "counts": {kind: counts[kind] for kind in KINDS if counts[kind]},
        "elsewhere": len(wrong) - len(drawn) if drawn else 0,
    }


def mark(part: WrongPart, place: Place, high: float) -> Mark:
    """high: of the picture, in the units of its marks."""
    name, true, seen = part
    kind = "missed" if seen is None else "invented" if true is None else "misread"
    points = [(WIDE * x, high * y) for x, y in place]
    title = f"{kind} {name}"
    if true or seen:
        title += f": it shows {true or 'nothing'}, seen as {seen or 'nothing'}"
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    top, bottom = min(y for _, y in points), max(y for _, y in points)
    height, anchor = LETTER, "end"
    if len(points) == 1:
        anchor = "start" if right < 0.85 * WIDE else "end"
        left, right, top, bottom = left - DOT, right + DOT, top - DOT, bottom + DOT
        path = f"M{left:.2f} {points[0][1]:.2f}a{DOT} {DOT} 0 1 1 0 .01z"
        x, y = (right if anchor == "start" else left), top
    else:
        path = "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in points) + "z" * (len(points) > 2)
        height = min(height, 0.42 * (bottom - top)) if len(points) > 2 else height
        x, y = right - 0.15 * height, top + 0.9 * height
    if len(points) == 2:  # a cross on the middle of the line
        middle = (left + right) / 2, (top + bottom) / 2
        left, right = middle[0] - CROSS, middle[0] + CROSS
        top, bottom = middle[1] - CROSS, middle[1] + CROSS
    cross = f"M{left:.2f} {top:.2f}L{right:.2f} {bottom:.2f}M{left:.2f} {bottom:.2f}"
    cross = f"{cross}L{right:.2f} {top:.2f}" if kind == "invented" else ""
    return Mark(kind, title, path, cross, seen or "", anchor, x, y, height)
