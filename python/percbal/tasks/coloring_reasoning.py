"""Colours a graph with the fewest colours and says how, with guesses and what takes them back.

A clique says how many colours it takes at least. Then the vertex that sees the most colours is
coloured next. Where all fails with so many colours, one more is tried, so the number is proved.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

from percbal.tasks.coloring_graph import Edges, largest_clique, most_constrained, neighbours
from percbal.tasks.phrases import Phrases

COLORS = "abcdefghijklmnop"
STYLES = {
    "terse": Phrases(
        {
            "bare": "clique {cells}",
            "clique": "clique {cells} least {count}",
            "see": "{vertex} sees {count}",
            "look": "{vertex} next {cells}",
            "left": "left {colors}",
            "try": "try {value} next {cells} {found}",
            "set": "set {value}",
            "guess": "guess {value}",
            "conflict": "conflict {vertex} undo {value}",
            "more": "fail {count}",
            "state": "now {cells}",
        }
    ),
    "plain": Phrases(
        {
            "bare": "All of {cells} are joined.",
            "clique": "All of {cells} are joined, so it takes at least {count} colors.",
            "see": "Vertex {vertex} sees {count} colors.",
            "look": "Vertex {vertex} is next to {cells}.",
            "left": "Free for it: {colors}.",
            "try": "Can it be {value}? It is next to {cells}: {found}.",
            "set": "So {value}.",
            "guess": "Suppose {value}.",
            "conflict": "No color is free for {vertex}, so {value} was wrong.",
            "more": "So {count} colors are not enough.",
            "state": "Now the colors are {cells}.",
        }
    ),
    "thinking": Phrases(
        {
            "bare": "I see that {cells} are joined.",
            "clique": "I see that {cells} are joined with one another: I need {count} colors.",
            "see": "{vertex} has {count} colors around it.",
            "look": "Let me check {vertex}. It touches {cells},",
            "left": "which leaves {colors}.",
            "try": "What about {value}? It touches {cells}, so it is {found}.",
            "set": "It must be {value}.",
            "guess": "No step is sure, so I try {value}.",
            "conflict": "Wait, nothing is left for {vertex}. I take {value} back.",
            "more": "Hmm, {count} colors do not work. I need one more.",
            "state": "I now have {cells}.",
        }
    ),
}


def cell(vertex: int, color: int | None) -> str:
    """``3=b``, or ``3=_`` without a colour."""
    return f"{vertex}={'_' if color is None else COLORS[color]}"


def reasoning_words(vertices: int, style: Phrases, verbosity: int) -> list[str]:
    """Every word that `color_aloud` can have for graphs of up to so many vertices.

    Those of the least verbosity are left out above it: models number their tokens by these words.
    """
    table = dict(style.table)
    if verbosity >= 0:
        del table["bare"]
    names = [str(vertex) for vertex in range(vertices)]
    values = [cell(v, c) for v in range(vertices) for c in (None, *range(vertices))]
    fields = {"vertex": names, "cells": [*names, *values], "value": values, "count": names}
    fields["count"] = [*names, str(vertices)]
    fields |= {"colors": [*COLORS[:vertices], "none"], "found": ["taken", "free"]}
    return Phrases(table).words(fields)


def color_aloud(
    vertices: int, edges: Edges, verbosity: int, rng: random.Random, style: Phrases
) -> tuple[str, dict[int, int]]:
    """A chain of thought, and the colouring with the fewest colours that it finds.

    verbosity -1: what bounds the number of colours: a largest clique, and numbers that fail
    verbosity 0: also ``set``, ``guess`` and ``conflict``
    verbosity 1: also the neighbours of every vertex that is coloured, and the colours left
    verbosity 2: also the colours of all vertices after every change
    verbosity 3: also what every vertex sees, and each colour tried against the neighbours

    The neighbours are listed in any order.
    """
    solver = _Solver(vertices, edges, verbosity, rng, style)
    colors = solver.solve()
    return " ".join(solver.said), colors


class _Solver:
    """Colours a graph and writes down how."""

    def __init__(
        self, vertices: int, edges: Edges, verbosity: int, rng: random.Random, style: Phrases
    ) -> None:
        self.near = neighbours(edges, vertices)
        self.verbosity, self.rng, self.style = verbosity, rng, style
        self.given: dict[int, int] = {}
        self.stuck = 0  # the last vertex without a colour left
        self.said: list[str] = []

    def solve(self) -> dict[int, int]:
        clique = largest_clique(self.near)
        bound = "bare" if self.verbosity < 0 else "clique"
        self._say(-1, bound, cells=" ".join(map(str, clique)), count=str(len(clique)))
        for color, vertex in enumerate(clique):
            self._put("set", vertex, color)
        most = len(clique)
        while not self._extend(most):
            self._say(-1, "more", count=str(most))
            most += 1
        return self.given

    def _extend(self, most: int) -> bool:
        """Colour the rest with ``most`` colours; whether it worked. If not, nothing is changed."""
        if len(self.given) == len(self.near):
            return True
        self._rank()
        vertex = most_constrained(self.near, self.given)
        left = self._left(vertex, most)
        if not left:
            self.stuck = vertex
            return False
        for number, color in enumerate(left):
            last = number == len(left) - 1
            self._put("set" if last else "guess", vertex, color)
            if self._extend(most):
                return True
            del self.given[vertex]
            if not last:
                self._say(0, "conflict", vertex=str(self.stuck), value=cell(vertex, color))
                self._say_state(1)
        return False

    def _left(self, vertex: int, most: int) -> list[int]:
        """The colours that a vertex can have: of those nobody has yet, only the first."""
        around = self.rng.sample(sorted(self.near[vertex]), len(self.near[vertex]))
        taken = {self.given[other] for other in around if other in self.given}
        tried = range(min(most, max(self.given.values(), default=-1) + 2))
        left = [color for color in tried if color not in taken]
        self._say(1, "look", vertex=str(vertex), cells=self._cells(around))
        if self.verbosity >= 3:
            for color in tried:
                found = "taken" if color in taken else "free"
                value = cell(vertex, color)
                self._say(3, "try", value=value, cells=self._cells(around), found=found)
        self._say(1, "left", colors=" ".join(COLORS[color] for color in left) or "none")
        return left

    def _rank(self) -> None:
        for vertex in range(len(self.near)) if self.verbosity >= 3 else ():
            if vertex not in self.given:
                seen = {self.given[other] for other in self.near[vertex] if other in self.given}
                self._say(3, "see", vertex=str(vertex), count=str(len(seen)))

    def _put(self, how: str, vertex: int, color: int) -> None:
        self.given[vertex] = color
        self._say(0, how, value=cell(vertex, color))
        self._say_state(2)

    def _say_state(self, verbosity: int) -> None:
        if self.verbosity >= verbosity:
            self._say(verbosity, "state", cells=self._cells(range(len(self.near))))

    def _cells(self, vertices: Iterable[int]) -> str:
        return " ".join(cell(vertex, self.given.get(vertex)) for vertex in vertices)

    def _say(self, verbosity: int, step: str, **fields: str) -> None:
        """Add a phrase, from a verbosity on."""
        if self.verbosity >= verbosity:
            self.said.append(self.style.say(step, **fields))
