"""Where the lines and areas of the drawings lie; the templates draw them as SVG."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from percbal.report.findings import KINDS, RIGHT, UNREADABLE, WRONG

NODE, GAP = 12, 30  # pixels: width of a bar, and the room above it, where its name stands
TALL = 260  # all completions
SEEN = {RIGHT: "seen right", WRONG: "seen wrong", UNREADABLE: "unreadable"}
STAGE = {RIGHT: "right", WRONG: "perception", UNREADABLE: "format"}  # whose colour
SERIES = {"a": "circle", "a_p": "square", "a_r": "triangle"}


Point = tuple[float, float]


class Node(NamedTuple):
    """A bar with its name above it."""

    x: float
    y: float
    height: float
    label: str
    anchor: str  # of the text, at text_x
    text_x: float


class Ribbon(NamedTuple):
    """From one bar to another, in the colour of a kind of answer."""

    path: str
    kind: str
    number: int
    title: str
    x: float  # of its number
    y: float
    height: float


def flow_drawing(
    counts: Counter[tuple[str, str]], width: int, unit: str, of_answer: str
) -> dict[str, Any]:
    """From all completions through perception to answers; heights are proportional to counts.

    unit: what is counted. of_answer: what stands before "right" and "wrong".
    """
    total = counts.total()
    scale = TALL / total
    middle, right = 0.46 * (width - NODE), float(width - NODE)
    by_seen, by_answer = Counter[str](), Counter[str]()
    for (name, kind), count in counts.items():
        by_seen[name] += count
        by_answer[_answer(kind)] += count
    leave = _tops(by_seen, SEEN, scale)  # where the next ribbon leaves each node, and enters one
    enter = _tops(by_answer, (RIGHT, WRONG), scale)
    nodes = [Node(0, GAP, TALL, f"{total} {unit}", "start", 0)]
    for name, y in leave.items():
        label = f"{SEEN[name]}: {by_seen[name]}"
        nodes.append(Node(middle, y, by_seen[name] * scale, label, "middle", middle + NODE / 2))
    for name, y in enter.items():
        label = f"{of_answer}{name}: {by_answer[name]}"
        nodes.append(Node(right, y, by_answer[name] * scale, label, "end", width))
    ribbons, start = [], float(GAP)
    for name, y in list(leave.items()):
        title = f"{by_seen[name]} of {total}: {SEEN[name]}"
        height = by_seen[name] * scale
        ribbons.append(
            _ribbon((NODE, start), (middle, y), height, STAGE[name], by_seen[name], title)
        )
        start += height
        for kind in sorted(KINDS, key=lambda kind: kind != RIGHT):
            if count := counts[name, kind]:
                answer, height = _answer(kind), count * scale
                title = f"{count} {SEEN[name]}, answer {answer}: {KINDS[kind][0]}"
                ends = (middle + NODE, leave[name]), (right, enter[answer])
                ribbons.append(_ribbon(*ends, height, kind, count, title))
                leave[name] += height
                enter[answer] += height
    lowest = max(node.y + node.height for node in nodes)
    return {"width": width, "height": lowest, "nodes": nodes, "ribbons": ribbons}


def _answer(kind: str) -> str:
    return RIGHT if kind == RIGHT else WRONG


def _tops(counts: Counter[str], order: Iterable[str], scale: float) -> dict[str, float]:
    """Where each bar begins that is not empty, from the top down."""
    tops, top = {}, float(GAP)
    for name in order:
        if counts[name]:
            tops[name] = top
            top += counts[name] * scale + GAP
    return tops


def _ribbon(start: Point, end: Point, height: float, kind: str, number: int, title: str) -> Ribbon:
    (x0, y0), (x1, y1) = start, end
    middle = (x0 + x1) / 2
    path = (
        f"M{x0:.1f} {y0:.1f}C{middle:.1f} {y0:.1f} {middle:.1f} {y1:.1f} {x1:.1f} {y1:.1f}"
        f"v{height:.1f}C{middle:.1f} {y1 + height:.1f} {middle:.1f} {y0 + height:.1f} "
        f"{x0:.1f} {y0 + height:.1f}z"
    )
    x, y = x0 + 0.3 * (x1 - x0), y0 + 0.16 * (y1 - y0)  # on its way, before others cross it
    return Ribbon(path, kind, number, title, x, y + height / 2, height)


WIDE, HIGH, LEFT = 320, 150, 38  # of a panel's plot, and the room for its scale


def panel(name: str, levels: Sequence[tuple[str, int, Mapping[str, Any]]]) -> dict[str, Any]:
    """One curve an accuracy over levels: (label, n, accuracies)."""
    step = WIDE / len(levels)
    crowded = max(len(label) for label, _, _ in levels) * 7 > step
    series = []
    for order, (metric, mark) in enumerate(SERIES.items()):
        points = []
        for i, (label, _, accuracies) in enumerate(levels):
            found = accuracies.get(metric)
            if found and found["value"] is not None:
                x = LEFT + (i + 0.5) * step + (order - 1) * min(7, step / 5)
                y, low, high = (10 + HIGH * (1 - found[k]) for k in ("value", "low", "high"))
                title = f"{metric}, {name} {label}: {percent(found)}, n = {found['n']}"
                points.append({"x": x, "y": y, "low": low, "high": high, "title": title})
        if points:
            line = " ".join(f"{p['x']:.1f},{p['y']:.1f}" for p in points)
            series.append({"metric": metric, "mark": mark, "points": points, "line": line})
    ticks = [(LEFT + (i + 0.5) * step, label, n) for i, (label, n, _) in enumerate(levels)]
    height = 10 + HIGH + (92 if crowded else 42)
    return {
        "name": name,
        "series": series,
        "ticks": ticks,
        "crowded": crowded,
        "width": LEFT + WIDE,
        "height": height,
    }


def panels(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Over every field of difficulty that has several values, and pass@k over k."""
    found = [
        panel(field["name"], [(v["label"], v["n"], v["accuracies"]) for v in field["values"]])
        for field in data["difficulty"]
        if len(field["values"]) > 1
    ]
    ks = list(dict.fromkeys(k for by_k in data["pass_at_k"].values() for k in by_k))
    if ks:
        by_k = [{m: of[k] for m, of in data["pass_at_k"].items() if k in of} for k in ks]
        n = data["n"]
        found.append(panel("pass@k", [(k, n, each) for k, each in zip(ks, by_k, strict=True)]))
    return found


def percent(accuracy: Mapping[str, Any]) -> str:
    """With its interval."""
    value, low, high = (100 * accuracy[name] for name in ("value", "low", "high"))
    return f"{value:.0f}% [{low:.0f}, {high:.0f}]"
