"""Pictures of graphs: where vertices stand, so that crossings and near misses make edges hard to
follow, but no picture fits two graphs.

An edge keeps a clearance from every vertex that is not its end. So none is hidden behind another,
and none seems to end where it does not.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from percbal.tasks.base import Place
from percbal.tasks.coloring_graph import Edge
from percbal.tasks.pictures import check_look, digit_font, with_noise

OVERSAMPLING = 2
KINDS = RING, SCATTERED = "ring", "scattered"
LAYOUTS, CIRCLES = 24, 8  # to choose from
MOVED = 0.4  # of a radius, at most, each vertex of a ring in width and in height
PAPER, INK = 255, 0
Points = np.ndarray  # (vertices, 2), in pixels


@dataclass(frozen=True)
class Look:
    """What makes a picture hard to read.

    pixels: fewest and most of width and height, which are equal.
    layout: ring: the vertices stand round a circle by their numbers, 0 at the top, each moved a
        little; scattered: anywhere.
    clearance: of an edge from vertices that are not its ends, as a share of the width.
    crossings: whether to look among scattered layouts for few (-1), any (0) or many (1) of them.
    beside: labels stand beside their vertices, not in them.
    noise: standard deviation of Gaussian pixel noise, as a share of white.
    fonts: every label is drawn in one of these, drawn at random.
    """

    pixels: tuple[int, int]
    layout: str
    clearance: float
    crossings: int
    beside: bool
    noise: float
    fonts: tuple[str, ...]

    def __post_init__(self) -> None:
        check_look(self.noise, self.fonts)
        if not 0 <= self.clearance < math.inf:
            raise ValueError(f"clearance must be 0 or more, got {self.clearance}")

    def radius(self, pixels: int) -> int:
        """Of a vertex, in pixels."""
        return max(7, round(0.032 * pixels))

    def reach(self, radius: int) -> float:
        """How far from its centre a vertex is drawn."""
        return radius / 3 if self.beside else radius


def fits(vertices: int, pixels: int, radius: int) -> bool:
    """Whether so many vertices can stand on a circle and keep off each other's edges."""
    around = pixels / 2 - 2 * radius
    step = 2 * math.pi / max(vertices, 3)
    apart = 2 * around * math.sin(step / 2)
    return around * (1 - math.cos(step)) >= radius + 2 and apart >= 2 * radius + 2


def render(vertices: int, edges: Collection[Edge], look: Look, rng: random.Random) -> Image.Image:
    """A grey ("L") picture of the graph."""
    pixels, pairs, places = standing(vertices, edges, look, rng)
    large = Image.new("L", (pixels * OVERSAMPLING,) * 2, PAPER)
    draw = ImageDraw.Draw(large)
    for a, b in pairs:
        ends = [*(places[a] * OVERSAMPLING), *(places[b] * OVERSAMPLING)]
        draw.line(ends, fill=INK, width=OVERSAMPLING * (1 + pixels // 300))
    _draw_vertices(draw, places, look.radius(pixels), look, rng)
    return with_noise(large.reduce(OVERSAMPLING), look.noise, rng)


class Standing(NamedTuple):
    """pixels: width and height. pairs: (edges, 2) vertices. places: of the vertices."""

    pixels: int
    pairs: np.ndarray
    places: Points


def standing(vertices: int, edges: Collection[Edge], look: Look, rng: random.Random) -> Standing:
    """Where the vertices of a picture are, the first that it draws by chance."""
    pixels = rng.randint(*look.pixels)
    pairs = np.array(sorted(edges), dtype=int).reshape(-1, 2)
    return Standing(pixels, pairs, layout(vertices, pairs, pixels, look, rng))


def between(found: Standing, a: int, b: int, look: Look) -> Place:
    """The line that joins two vertices, from rim to rim."""
    start, end = found.places[a], found.places[b]
    along = (end - start) / np.linalg.norm(end - start)
    rim = along * look.reach(look.radius(found.pixels))
    ends = ((start + rim) / found.pixels).tolist(), ((end - rim) / found.pixels).tolist()
    return tuple((x, y) for x, y in ends)


def around(found: Standing, vertex: int, look: Look) -> Place:
    """A square around a vertex, twice as wide as the circle that has its label in it, or as wide as
    the picture lets it."""
    x, y = (found.places[vertex] / found.pixels).tolist()
    r = min(2 * look.radius(found.pixels) / found.pixels, x, y, 1 - x, 1 - y)
    return (x - r, y - r), (x + r, y - r), (x + r, y + r), (x - r, y + r)


def layout(vertices: int, pairs: np.ndarray, pixels: int, look: Look, rng: random.Random) -> Points:
    """A layout with the clearance, else a circle.

    On a circle edges keep off vertices as far as the number of vertices lets them (see `fits`).
    pairs: (edges, 2) vertices.
    """
    radius = look.radius(pixels)
    apart = look.reach(radius) + max(2.0, look.clearance * pixels)
    if look.layout == RING:
        ring = _round(np.arange(vertices), -math.pi / 2, pixels, radius)
        moved = (ring + _moves(vertices, MOVED * radius, rng) for _ in range(LAYOUTS))
        return next((p for p in moved if clearance(p, pairs) >= apart), ring)
    scattered = (_scattered(vertices, pixels, radius, rng) for _ in range(LAYOUTS))
    clear = (p for p in scattered if p is not None and clearance(p, pairs) >= apart)
    circles = (_circle(vertices, pixels, radius, rng) for _ in range(CIRCLES))
    first = None if look.crossings else 1  # any layout will do
    candidates = [*islice(clear, first)] or [*islice(circles, first)]
    return max(candidates, key=lambda places: look.crossings * crossings(places, pairs))


def _scattered(vertices: int, pixels: int, radius: int, rng: random.Random) -> Points | None:
    """Vertices anywhere, four radii apart or more, from one side of the picture to the other.

    None if they did not fit.
    """
    low = 2.5 * radius
    side, near, chance = pixels - 2 * low, (4 * radius) ** 2, rng.random
    places: list[tuple[float, float]] = []
    for _ in range(20 * vertices):  # most of a picture's time where they do not fit: plain floats
        x, y = low + side * chance(), low + side * chance()
        for other_x, other_y in places:
            if (x - other_x) ** 2 + (y - other_y) ** 2 < near:
                break
        else:
            places.append((x, y))
            if len(places) == vertices:
                return _stretched(np.array(places), low, pixels - low)
    return None


def _stretched(places: Points, low: float, high: float) -> Points:
    """From ``low`` to ``high`` in width and height. No distance becomes smaller."""
    first, span = places.min(axis=0), np.ptp(places, axis=0)
    scale = np.divide(high - low, span, out=np.ones(2), where=span > 0)
    return np.where(span > 0, low + (places - first) * scale, places)


def _circle(vertices: int, pixels: int, radius: int, rng: random.Random) -> Points:
    turn = rng.uniform(0, 2 * math.pi)
    return _round(np.array(rng.sample(range(vertices), vertices)), turn, pixels, radius)


def _round(order: np.ndarray, turn: float, pixels: int, radius: int) -> Points:
    """On a circle, each vertex at its place in the order (vertices,), the first at the angle."""
    angles = turn + 2 * math.pi * order / len(order)
    around = pixels / 2 - 2 * radius
    return pixels / 2 + around * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _moves(vertices: int, most: float, rng: random.Random) -> Points:
    """Of each vertex in width and height, up to so many pixels."""
    return np.array([[rng.uniform(-most, most) for _ in range(2)] for _ in range(vertices)])


def clearance(places: Points, pairs: np.ndarray) -> float:
    """The smallest distance of an edge from a vertex that is not its end; infinite if none."""
    distances = _distances(places, pairs)
    return float(distances.min()) if distances.size else math.inf


def near_misses(places: Points, pairs: np.ndarray, within: float) -> int:
    """How many times an edge passes a vertex that is not its end within so many pixels."""
    return int((_distances(places, pairs) < within).sum())


def _distances(places: Points, pairs: np.ndarray) -> np.ndarray:
    """(edges, vertices) pixels from an edge to a vertex, infinite at its ends."""
    start, along = places[pairs[:, 0]], places[pairs[:, 1]] - places[pairs[:, 0]]
    offset = places[None] - start[:, None]  # (edges, vertices, 2)
    share = (offset * along[:, None]).sum(-1) / (along**2).sum(-1)[:, None]
    foot = np.clip(share, 0, 1)[..., None] * along[:, None]
    distances = np.linalg.norm(offset - foot, axis=-1)
    rows = np.arange(len(pairs))
    distances[rows, pairs[:, 0]] = distances[rows, pairs[:, 1]] = np.inf
    return distances


def crossings(places: Points, pairs: np.ndarray) -> int:
    """How many pairs of edges cross."""
    start, end = places[pairs[:, 0]], places[pairs[:, 1]]

    def side(points: Points) -> np.ndarray:
        """(edges, edges) on which side of an edge's line a point of another one is."""
        along, offset = (end - start)[:, None], points[None] - start[:, None]
        return np.sign(along[..., 0] * offset[..., 1] - along[..., 1] * offset[..., 0])

    apart = (side(start) * side(end)) < 0
    shared = (pairs[:, None, :, None] == pairs[None, :, None, :]).any((-1, -2))
    return int((apart & apart.T & ~shared).sum()) // 2


def _draw_vertices(
    draw: ImageDraw.ImageDraw, places: Points, radius: int, look: Look, rng: random.Random
) -> None:
    """A circle with its label in it, or a dot with its label beside it, on a white rim."""
    reach = look.reach(radius) * OVERSAMPLING
    rim = 2 * OVERSAMPLING if look.beside else 0
    labels: list[np.ndarray] = []
    for vertex, place in enumerate(places):
        x, y = place * OVERSAMPLING
        shape = (x - reach, y - reach, x + reach, y + reach)
        fill = INK if look.beside else PAPER
        draw.ellipse(shape, fill=fill, outline=INK, width=OVERSAMPLING)
        labels.append(_beside(vertex, places, labels, radius, rng) if look.beside else place)
        draw.text(
            tuple(labels[-1] * OVERSAMPLING),
            str(vertex),
            fill=INK,
            font=digit_font(rng.choice(look.fonts), 0.7 * radius * OVERSAMPLING),
            anchor="mm",
            stroke_width=rim,
            stroke_fill=PAPER,
        )


def _beside(
    vertex: int, places: Points, labels: list[np.ndarray], radius: int, rng: random.Random
) -> np.ndarray:
    """Of eight places around a vertex, the one farthest from other vertices and labels."""
    others = np.array([*np.delete(places, vertex, axis=0), *labels])
    turn = rng.uniform(0, math.pi / 4)
    angles = [turn + eighth * math.pi / 4 for eighth in range(8)]
    around = [places[vertex] + 1.3 * radius * np.array([math.cos(a), math.sin(a)]) for a in angles]
    return max(around, key=lambda at: float(np.linalg.norm(others - at, axis=1).min()))
