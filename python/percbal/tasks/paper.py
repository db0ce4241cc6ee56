"""Judges for the paper's two data sets, whose column ``ground_truth`` is their truth.

The data sets hold no answers: any answer that meets the constraints of the true problem is right.
Completions are read in the default tags (`Format.tagged` makes them of any other format), and what
stands between the tags in whatever way a model writes a grid, edges or a colouring.

    outcome, perception, *_ = percbal.rewards.from_task(PaperSudoku())
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from percbal.responses.reading import Refusal
from percbal.responses.spans import Spans, find_spans
from percbal.tasks.base import Score
from percbal.tasks.read_graph import Coloring, Edges, read_coloring, read_edges
from percbal.tasks.read_grid import Grid, read_grid
from percbal.tasks.judging import judge
from percbal.tasks.sudoku_grid import geometry, is_solution, share_right
from percbal.tasks.sudoku_text import parse_grid

SIZE = 9
MOST_VERTICES = 10  # up to here the fewest colours of a perceived graph are counted


class PaperSudoku:
    """9x9 Sudoku.

    A truth is 81 digits, flat or in rows, 0 for an empty cell, or ``{"grid": ..}`` with these.
    """

    name = "paper-sudoku"
    truths = (list, dict)  # what `from_task` lets through

    def score(self, completion: str, truth: Any) -> Score:
        """Judge a completion. Raises ValueError for a truth that is no grid."""
        return judge(
            completion,
            see=_grid,
            say=_grid,
            true=_clues(truth),
            right=lambda said, seen: (
                isinstance(said, list) and is_solution(said, seen, geometry(SIZE))
            ),
            share=share_right,
        )


class PaperColoring:
    """Graph colouring with the fewest colours. A truth is ``{"v": .., "c": .., "edges": ..}``.

    An answer is right if it colours exactly the vertices 0 to v - 1, no edge has one colour at both
    ends, and there are exactly c colours.
    """

    name = "paper-coloring"

    def score(self, completion: str, truth: Any) -> Score:
        """Judge a completion. Raises ValueError for a truth that is no such graph."""
        vertices, colors, edges = _graph(truth)
        spans = find_spans(completion)
        seen = None if spans.perception is None else read_edges(spans.perception)
        said = None if spans.answer is None else read_coloring(spans.answer)
        own: bool | None = None  # the answer for the perceived graph, where it has these vertices
        if isinstance(seen, frozenset) and said is not None and _fits(seen, vertices):
            fewest = fewest_colors(seen, vertices)
            own = fewest is not None and _colors(said, seen, vertices, fewest)
        return Score(
            answer=None if said is None else _colors(said, edges, vertices, colors),
            perception=None if seen is None else seen == edges,
            perception_f1=_f1(seen, edges) if isinstance(seen, frozenset) else 0.0,
            reasoning=own,
            parsed=spans.complete and isinstance(seen, frozenset) and isinstance(said, dict),
            reason=_reason(spans, seen, said),
        )


def fewest_colors(edges: Edges, vertices: int) -> int | None:
    """The chromatic number, None for more than ``MOST_VERTICES`` vertices."""
    if vertices > MOST_VERTICES:
        return None
    near = [{a + b - v for a, b in edges if v in (a, b)} for v in range(vertices)]
    order = sorted(range(vertices), key=lambda v: -len(near[v]))

    def colored(i: int, given: dict[int, int], most: int) -> bool:
        if i == vertices:
            return True
        taken = {given[other] for other in near[order[i]] if other in given}
        # a colour that nobody has yet is as good as any other such
        for color in range(min(most, max(given.values(), default=-1) + 2)):
            if color not in taken and colored(i + 1, {**given, order[i]: color}, most):
                return True
        return False

    return next(most for most in range(vertices + 1) if colored(0, {}, most))


def _grid(text: str) -> Grid | Refusal:
    """In the words of the task ``sudoku``, on which a model may have been trained, or any other."""
    own = parse_grid(text, SIZE)
    return own if isinstance(own, list) else read_grid(text, SIZE)


def _completes(said: Grid | Refusal, clues: Grid) -> bool:
    return isinstance(said, list) and is_solution(said, clues, geometry(SIZE))


def _share(seen: Grid, clues: Grid) -> float:
    return sum(ours == true for ours, true in zip(seen, clues, strict=True)) / len(clues)


def _colors(said: Coloring | Refusal, edges: Edges, vertices: int, colors: int) -> bool:
    if not isinstance(said, dict) or said.keys() != set(range(vertices)):
        return False
    return len({*said.values()}) == colors and all(said[a] != said[b] for a, b in edges)


def _fits(edges: Edges, vertices: int) -> bool:
    return all(b < vertices for _, b in edges)


def _f1(seen: Edges, edges: Edges) -> float:
    return 2 * len(seen & edges) / (len(seen) + len(edges)) if seen or edges else 1.0


def _reason(spans: Spans, seen: Any, said: Any) -> str:
    problems = list(spans.problems)
    for name, found in (("perception", seen), ("answer", said)):
        if isinstance(found, Refusal):
            problems.append(f"{name}: {found.problem}")
    return "; ".join(problems)


def _parsed(truth: Any) -> Any:
    """The truth itself, or what its JSON says."""
    try:
        return json.loads(truth) if isinstance(truth, str) else truth
    except (ValueError, RecursionError):
        return None


def _clues(truth: Any) -> Grid:
    rows = _parsed(truth)
    if isinstance(rows, Mapping):
        rows = rows.get("grid")
    cells: list[Any] = []
    for row in rows if isinstance(rows, Sequence) else ():
        cells += row if isinstance(row, Sequence) and not isinstance(row, str) else [row]
    if len(cells) != SIZE * SIZE or not all(type(c) is int and 0 <= c <= SIZE for c in cells):
        raise ValueError(
            f"a Sudoku's truth must be 81 digits, 0 where empty, got {str(truth)[:60]!r}"
        )
    return cells


def _graph(truth: Any) -> tuple[int, int, Edges]:
    graph = _parsed(truth)
    try:
        vertices, colors = int(graph["v"]), int(graph["c"])
        edges = frozenset((min(a, b), max(a, b)) for a, b in graph["edges"])
        usable = all(0 <= a < b < vertices for a, b in edges)
    except (TypeError, ValueError, KeyError):
        usable = False
    if not usable:
        raise ValueError(
            'a graph\'s truth must be {"v": .., "c": .., "edges": [[0, 1], ..]}, '
            f"got {str(truth)[:60]!r}"
        )
    return vertices, colors, edges
