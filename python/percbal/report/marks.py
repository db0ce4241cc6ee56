"""Where a picture is marked: the parts that a model misread, missed or invented, and those of its
answer that are wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from percbal.report.pictures import Shown
from percbal.tasks.base import Place, WrongPart

WIDE = 100.0  # of a picture, in the units of its marks
DOT = 3.0  # radius around a point
CROSS = 2.5  # half the width of a cross on a line
LETTER = 6.5  # height of what was seen, or answered
KINDS = {  # of a wrong part -> what it means
    "misread": "it saw what is written small",
    "missed": "it did not see it",
    "invented": "it is not there",
    "misanswered": "its answer, written small",
    "unanswered": "its answer leaves it out",
}
OF_ANSWERS = ("misanswered", "unanswered")


class Mark(NamedTuple):
    """kind: of ``KINDS``. path: of its outline; cross: of what crosses it, if it was invented.

    text: what was seen or answered, in letters of a height, which end, start or have their middle
    (anchor) at (x, y).
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


class Box(NamedTuple):
    """What a place is within, in the units of the marks."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def middle(self) -> tuple[float, float]:
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2


def marks(
    wrong: Sequence[WrongPart], answered: Sequence[WrongPart], shown: Shown | None
) -> dict[str, Any]:
    """Those of one picture, how many of each kind, and how many parts have no place there, if any
    part has one."""
    drawn, elsewhere = [], 0
    if shown is not None and (shown.places or shown.answer_places):
        high = WIDE * shown.tall
        places = shown.places, shown.answer_places
        drawn = [mark(part, places[0][part[0]], high) for part in wrong if part[0] in places[0]]
        drawn += [
            answer_mark(part, places[1][part[0]], high) for part in answered if part[0] in places[1]
        ]
        elsewhere = len(wrong) + len(answered) - len(drawn)
    counts = Counter(each.kind for each in drawn)
    return {
        "drawn": drawn,
        "counts": {kind: counts[kind] for kind in KINDS if counts[kind]},
        "elsewhere": elsewhere,
    }


def mark(part: WrongPart, place: Place, high: float) -> Mark:
    """Of what was seen. high: of the picture, in the units of its marks."""
    name, true, seen = part
    kind = "missed" if seen is None else "invented" if true is None else "misread"
    title = f"{kind} {name}"
    if true or seen:
        title += f": it shows {true or 'nothing'}, seen as {seen or 'nothing'}"
    points, box = _within(place, high)
    height, anchor = LETTER, "end"
    if len(points) == 1:
        ((x, y),) = points
        anchor = "start" if x < 0.85 * WIDE else "end"
        box = Box(x - DOT, y - DOT, x + DOT, y + DOT)
        path = f"M{box.left:.2f} {y:.2f}a{DOT} {DOT} 0 1 1 0 .01z"
        x, y = (box.right if anchor == "start" else box.left), box.top
    else:
        path = _line(points) + "z" * (len(points) > 2)
        height = min(height, 0.42 * (box.bottom - box.top)) if len(points) > 2 else height
        x, y = box.right - 0.15 * height, box.top + 0.9 * height
    if len(points) == 2:  # a cross on the middle of the line
        (x_, y_) = box.middle
        box = Box(x_ - CROSS, y_ - CROSS, x_ + CROSS, y_ + CROSS)
    left, top, right, bottom = box
    cross = f"M{left:.2f} {top:.2f}L{right:.2f} {bottom:.2f}M{left:.2f} {bottom:.2f}"
    cross = f"{cross}L{right:.2f} {top:.2f}" if kind == "invented" else ""
    return Mark(kind, title, path, cross, seen or "", anchor, x, y, height)


def answer_mark(part: WrongPart, place: Place, high: float) -> Mark:
    """Of what was answered: a diamond within the place, or one at each end of a line. The text
    stands where none of what was seen does: below on the left, or on the middle of the line."""
    name, right, said = part
    kind = "unanswered" if said is None else "misanswered"
    title = f"{kind} {name}: {said or 'nothing'}" + (f", {right} is right" if right else "")
    points, box = _within(place, high)
    text = said or ""
    if len(points) < 3:
        path = _line(points) + "".join(
            _diamond(Box(x - DOT, y - DOT, x + DOT, y + DOT)) for x, y in points
        )
        x, y = box.middle
        return Mark(kind, title, path, "", text, "middle", x, y - 0.3 * LETTER, LETTER)
    height = min(LETTER, 0.42 * (box.bottom - box.top))
    x, y = box.left + 0.15 * height, box.bottom - 0.2 * height
    return Mark(kind, title, _diamond(box), "", text, "start", x, y, height)


def _within(place: Place, high: float) -> tuple[list[tuple[float, float]], Box]:
    points = [(WIDE * x, high * y) for x, y in place]
    xs, ys = zip(*points, strict=True)
    return points, Box(min(xs), min(ys), max(xs), max(ys))


def _line(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in points)


def _diamond(box: Box) -> str:
    x, y = box.middle
    return _line([(x, box.top), (box.right, y), (x, box.bottom), (box.left, y)]) + "z"
