"""Charts by matplotlib, without its state, its windows and its axes.

`Axes` would take most of the time, for ticks that are known beforehand: frame, ticks and marks are
drawn in shares of the picture.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from percbal.tasks.chart_table import LARGEST_X, Table
from percbal.tasks.pictures import FONTS, check_look, with_noise

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FAMILIES = ("DejaVu Sans", "DejaVu Serif", "STIXGeneral")
COLORS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple", "tab:brown", "black")
DPI = 100
LEFT, BOTTOM, RIGHT, TOP = 0.13, 0.17, 0.97, 0.97  # of the frame
TICK = 0.01


@dataclass(frozen=True)
class Look:
    """What makes a chart hard to read.

    pixels: width and height.
    ticks: numbered ticks of the axis of values are so many values apart.
    grid: lines across the chart at the ticks.
    noise: standard deviation of Gaussian pixel noise, as a share of white.
    """

    pixels: int
    ticks: int
    grid: bool
    noise: float

    def __post_init__(self) -> None:
        check_look(self.noise, FONTS)
        if self.pixels < 96 or self.ticks < 1:
            raise ValueError(
                f"pixels must be 96 or more and ticks 1 or more, got {self.pixels} and {self.ticks}"
            )


def render(table: Table, top: int, look: Look, rng: random.Random) -> Image.Image:
    """An RGB picture of the table. top: the largest value that there can be."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # takes a second to import
    from matplotlib.figure import Figure

    figure = Figure(figsize=(look.pixels / DPI,) * 2, dpi=DPI)
    canvas = FigureCanvasAgg(figure)
    xs = _across(table)
    color, family = rng.choice(COLORS), rng.choice(FAMILIES)
    _frame(figure, table, xs, top, look, family)
    ys = [_height(number, top) for number in table.values.values()]
    _marks(figure, table.kind, xs, ys, color, rng.choice((0.5, 0.75)))
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3].copy()
    return with_noise(Image.fromarray(pixels), look.noise, rng)


def points(table: Table, top: int) -> dict[str, tuple[float, float]]:
    """Label -> where its value is marked, in shares of the picture from its left upper corner."""
    rows = zip(_across(table), table.values.items(), strict=True)
    return {label: (x, 1 - _height(number, top)) for x, (label, number) in rows}


def level(number: float, top: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """The line across the chart at a value, in the same shares."""
    y = 1 - _height(number, top)
    return (LEFT, y), (RIGHT, y)


def _across(table: Table) -> list[float]:
    """Where the labels stand from left to right: a scatter plot's at their numbers."""
    n = len(table.values)
    shares = [(i + 0.5) / n for i in range(n)]
    if table.kind == "scatter":
        shares = [int(x) / (LARGEST_X + 1) for x in table.values]
    return [LEFT + (RIGHT - LEFT) * share for share in shares]


def pixels_apart(step: int, top: int, pixels: int) -> float:
    """How far two values are from one another that differ by ``step``."""
    return pixels * (_height(step, top) - _height(0, top))


def _height(number: float, top: int) -> float:
    return BOTTOM + (TOP - BOTTOM) * number / (1.04 * top)


def _frame(
    figure: Figure, table: Table, xs: list[float], top: int, look: Look, family: str
) -> None:
    """The box, the ticks with their numbers and labels, and the grid."""
    size = max(5.0, look.pixels / 40)
    box = [[(LEFT, BOTTOM), (RIGHT, BOTTOM), (RIGHT, TOP), (LEFT, TOP), (LEFT, BOTTOM)]]
    marks = {number: _height(number, top) for number in range(0, top + 1, look.ticks)}
    if look.grid:
        _lines(figure, [[(LEFT, y), (RIGHT, y)] for y in marks.values()], "0.8", zorder=0)
    ticks = [[(LEFT - TICK, y), (LEFT, y)] for y in marks.values()]
    ticks += [[(x, BOTTOM - TICK), (x, BOTTOM)] for x in xs]
    _lines(figure, box + ticks, "black")
    for number, y in marks.items():
        font: dict[str, Any] = {
            "family": family,
            "size": size,
            "ha": "right",
            "va": "center_baseline",
        }
        figure.text(LEFT - 2 * TICK, y, str(number), **font)
    turned: dict[str, Any] = {"rotation": 45 if len(xs) > 4 else 0, "ha": "center", "va": "top"}
    for x, label in zip(xs, table.values, strict=True):
        figure.text(x, BOTTOM - 2 * TICK, label, family=family, size=size, **turned)


def _lines(
    figure: Figure, lines: list[list[tuple[float, float]]], color: str, zorder: int = 2
) -> None:
    from matplotlib.collections import LineCollection

    options: dict[str, Any] = {"colors": color, "linewidths": 0.8, "zorder": zorder}
    figure.add_artist(LineCollection(lines, transform=figure.transFigure, **options))


def _marks(
    figure: Figure, kind: str, xs: list[float], ys: list[float], color: str, width: float
) -> None:
    """The values: bars, points joined by a line, or points. width: a bar's, of the room it has."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Rectangle

    if kind == "bar":
        wide = width * (RIGHT - LEFT) / len(xs)
        for x, y in zip(xs, ys, strict=True):
            bar = Rectangle((x - wide / 2, BOTTOM), wide, y - BOTTOM, color=color, linewidth=0)
            figure.add_artist(bar)
        return
    joined: Any = "-" if kind == "line" else "none"
    figure.add_artist(Line2D(xs, ys, color=color, marker="o", markersize=4, linestyle=joined))
