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
from percbal.responses.spans import find_spans
from percbal.tasks.base import Score, Table, WrongPart
from percbal.tasks.coloring_graph import Edges, chromatic_number, colors_properly, f1
from percbal.tasks.judging import judge, wrong_parts
from percbal.tasks.parts import (
    clue_parts,
    color_table,
    edge_parts,
    edge_table,
    grid_table,
    solution_table,
)
from percbal.tasks.read_graph import read_coloring, read_edges
from percbal.tasks.read_grid import Grid, read_grid
from percbal.tasks.sudoku_grid import geometry, is_solution, share_right
from percbal.tasks.sudoku_text import parse_grid

SIZE = 9
MOST_VERTICES = 10  # up to here the fewest colours of a perceived graph are counted


class PaperSudoku:
    """9x9 Sudoku.

    A truth is 81 digits, flat or in rows, 0 for an empty cell, or ``{"grid": ..}`` with these,
    or of the task ``sudoku``.
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

    def marked(self, completion: str, truth: Any) -> dict[str, Table]:
        """What was perceived and answered, cell by cell; an answer by the rules of the game."""
        clues = _clues(truth)
        seen, said = _read(completion, _grid, _grid)
        tables = {}
        if seen is not None:
            tables["perceived"] = grid_table(seen, clues)
        if said is not None:
            tables["answer"] = solution_table(said, clues)
        return tables

    def wrong_parts(self, completion: str, truth: Any) -> list[WrongPart]:
        """The clues that were seen wrong; none where nothing can be read."""
        seen, _ = _read(completion, _grid, _grid)
        return wrong_parts(clue_parts(seen), clue_parts(_clues(truth))) if seen else []


class PaperColoring:
    """Graph colouring with the fewest colours. A truth is ``{"v": .., "c": .., "edges": ..}``.

    An answer is right if it colours exactly the vertices 0 to v - 1, no edge has one colour at both
    ends, and there are exactly c colours.
    """

    name = "paper-coloring"

    def score(self, completion: str, truth: Any) -> Score:
        """Judge a completion. Raises ValueError for a truth that is no such graph."""
        vertices, colors, edges = _graph(truth)

        def right(said: Any, seen: Edges) -> bool | None:
            if any(b >= vertices for _, b in seen):
                return None  # not a graph of these vertices
            fewest = colors if seen is edges else fewest_colors(seen, vertices)
            if not isinstance(said, dict) or fewest is None:
                return False
            return colors_properly(said, seen, vertices, fewest)

        return judge(
            completion, see=read_edges, say=read_coloring, true=edges, right=right, share=f1
        )

    def marked(self, completion: str, truth: Any) -> dict[str, Table]:
        """What was perceived edge by edge, and answered vertex by vertex."""
        vertices, colors, edges = _graph(truth)
        seen, said = _read(completion, read_edges, read_coloring)
        tables = {}
        if seen is not None:
            tables["perceived"] = edge_table(seen, edges)
        if said is not None:
            tables["answer"] = color_table(said, edges, vertices, colors)
        return tables

    def wrong_parts(self, completion: str, truth: Any) -> list[WrongPart]:
        """The edges that were seen wrong; none where nothing can be read."""
        seen, _ = _read(completion, read_edges, read_coloring)
        return [] if seen is None else wrong_parts(edge_parts(seen), edge_parts(_graph(truth)[2]))


def fewest_colors(edges: Edges, vertices: int) -> int | None:
    """The chromatic number, None for more than ``MOST_VERTICES`` vertices."""
    return None if vertices > MOST_VERTICES else chromatic_number(edges, vertices)


def _read(completion: str, see: Any, say: Any) -> list[Any]:
    """What it perceived and what it answered; None for what is not there or cannot be read."""
    spans = find_spans(completion)
    pairs = ((see, spans.perception), (say, spans.answer))
    found = [None if text is None else read(text) for read, text in pairs]
    return [None if isinstance(each, Refusal) else each for each in found]


def _grid(text: str) -> Grid | Refusal:
    """In the words of the task ``sudoku``, on which a model may have been trained, or any other."""
    own = parse_grid(text, SIZE)
    return own if isinstance(own, list) else read_grid(text, SIZE)


def _parsed(truth: Any) -> Any:
    """The truth itself, or what its JSON says."""
    try:
        return json.loads(truth) if isinstance(truth, str) else truth
    except (ValueError, RecursionError):
        return None


def _clues(truth: Any) -> Grid:
    rows = _parsed(truth)
    if isinstance(rows, Mapping):
        rows = rows.get("grid", rows.get("clues"))
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
