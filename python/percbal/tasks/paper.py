"""Judges for the paper's two data sets, whose column ``ground_truth`` is their truth, and for
smaller grids and charts with such a column.

The data sets hold no answers: any answer that meets the constraints of the true problem is right.
Completions are read in the default tags (`Format.tagged` makes them of any other format), and what
stands between the tags in whatever way a model writes a grid, edges or a colouring.

    outcome, perception, *_ = percbal.rewards.from_task(PaperSudoku())
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from percbal.responses.reading import Refusal
from percbal.responses.spans import find_spans
from percbal.tasks.base import Score, Table, WrongPart
from percbal.tasks.chart import Chart
from percbal.tasks.chart_table import QUESTIONS, Question
from percbal.tasks.coloring import Coloring
from percbal.tasks.judging import judge, wrong_parts
from percbal.tasks.parts import clue_parts, grid_table, solution_table, wrong_by_the_rules
from percbal.tasks.read_grid import Grid, read_grid
from percbal.tasks.sudoku_grid import SIZES, Filled, completed, share_right, solves
from percbal.tasks.sudoku_text import read_answer, read_words


class PaperSudoku:
    """Sudoku of 9x9, or of 4x4 or 6x6.

    A truth is 81 digits (16, 36), flat or in rows, 0 for an empty cell, or ``{"grid": ..}`` with
    these, or of the task ``sudoku``.
    """

    name = "paper-sudoku"
    truths = (list, dict)  # what `from_task` lets through

    def score(self, completion: str, truth: Any) -> Score:
        """Judge a completion. Raises ValueError for a truth that is no grid."""
        clues = _clues(truth)
        return judge(
            completion,
            see=_reader(clues),
            say=_reader(clues, filled=True),
            true=clues,
            right=solves,
            share=share_right,
        )

    def marked(self, completion: str, truth: Any) -> dict[str, Table]:
        """What was perceived and answered, cell by cell; an answer by the rules of the game."""
        clues = _clues(truth)
        seen, said = _read(completion, clues)
        tables = {}
        if seen is not None:
            tables["perceived"] = grid_table(seen, clues)
        if (grid := completed(said, clues)) is not None:
            tables["answer"] = solution_table(grid, clues)
        return tables

    def wrong_parts(self, completion: str, truth: Any) -> list[WrongPart]:
        """The clues that were seen wrong; none where nothing can be read."""
        clues = _clues(truth)
        seen, _ = _read(completion, clues)
        return wrong_parts(clue_parts(seen), clue_parts(clues)) if seen else []

    def wrong_answers(self, completion: str, truth: Any) -> list[WrongPart]:
        """The cells of the answer that are wrong by the rules of the game; likewise."""
        clues = _clues(truth)
        grid = completed(_read(completion, clues)[1], clues)
        return [] if grid is None else wrong_by_the_rules(grid, clues)


class PaperColoring:
    """Graph colouring with the fewest colours. A truth is ``{"v": .., "c": .., "edges": ..}``.

    An answer is right if it colours exactly the vertices 0 to v - 1, no edge has one colour at both
    ends, and there are exactly c colours.
    """

    name = "paper-coloring"

    def score(self, completion: str, truth: Any) -> Score:
        """Judge a completion. Raises ValueError for a truth that is no such graph."""
        return Coloring().score(completion, _graph(truth))

    def marked(self, completion: str, truth: Any) -> dict[str, Table]:
        """What was perceived edge by edge, and answered vertex by vertex."""
        return Coloring().marked(completion, _graph(truth))

    def wrong_parts(self, completion: str, truth: Any) -> list[WrongPart]:
        """The edges that were seen wrong; none where nothing can be read."""
        return Coloring().wrong_parts(completion, _graph(truth))

    def wrong_answers(self, completion: str, truth: Any) -> list[WrongPart]:
        """The vertices, or the number of colours, that are answered wrong; likewise."""
        return Coloring().wrong_answers(completion, _graph(truth))


class PaperChart:
    """A question about a chart. A truth is ``{"values": {label: number, ..}, "question": ..}``, as
    of the task ``chart``; the question is that of `chart_table.Question`."""

    name = "paper-chart"

    def score(self, completion: str, truth: Any) -> Score:
        """Judge a completion. Raises ValueError for a truth that is no such table."""
        return Chart().score(completion, _table(truth))

    def marked(self, completion: str, truth: Any) -> dict[str, Table]:
        """What was perceived value by value, and the answer."""
        return Chart().marked(completion, _table(truth))

    def wrong_parts(self, completion: str, truth: Any) -> list[WrongPart]:
        """The values that were seen wrong; none where nothing can be read."""
        return Chart().wrong_parts(completion, _table(truth))

    def wrong_answers(self, completion: str, truth: Any) -> list[WrongPart]:
        """The number, if it is wrong; none where there is none."""
        return Chart().wrong_answers(completion, _table(truth))


def _read(completion: str, clues: Grid) -> list[Any]:
    """What it perceived and what it answered; None for what is not there or cannot be read."""
    spans = find_spans(completion)
    sides = (spans.perception, _reader(clues)), (spans.answer, _reader(clues, filled=True))
    found = [None if text is None else read(text) for text, read in sides]
    return [None if isinstance(each, Refusal) else each for each in found]


def _reader(clues: Grid, *, filled: bool = False) -> Callable[[str], Grid | Filled | Refusal]:
    """Of grids as large as this one. filled: also of the filled cells alone."""
    size = math.isqrt(len(clues))
    return lambda text: read_answer(text, size, _grid) if filled else _grid(text, size)


def _grid(text: str, size: int) -> Grid | Refusal:
    """In the words of the task ``sudoku``, on which a model may have been trained, or any other."""
    own = read_words(text, size)
    return own if isinstance(own, list) else read_grid(text, size)


def _table(truth: Any) -> dict[str, Any]:
    """The truth of the task ``chart``."""
    table = parsed_truth(truth)
    try:
        question = Question(**table["question"])
        values = {label: float(number) for label, number in table["values"].items()}
        usable = question.kind in QUESTIONS and question.value(values) is not None
    except (TypeError, ValueError, KeyError, AttributeError):
        usable = False
    if not usable:
        raise ValueError(
            'a chart\'s truth must be {"values": {label: number, ..}, "question": {"kind": '
            f'.., "a": .., "b": .., "above": ..}}}}, got {str(truth)[:60]!r}'
        )
    return table


def parsed_truth(truth: Any) -> Any:
    """The truth itself, or what its JSON says."""
    try:
        return json.loads(truth) if isinstance(truth, str) else truth
    except (ValueError, RecursionError):
        return None


def _clues(truth: Any) -> Grid:
    rows = parsed_truth(truth)
    if isinstance(rows, Mapping):
        rows = rows.get("grid", rows.get("clues"))
    cells: list[Any] = []
    for row in rows if isinstance(rows, Sequence) else ():
        cells += row if isinstance(row, Sequence) and not isinstance(row, str) else [row]
    size = math.isqrt(len(cells))
    whole = size in SIZES and len(cells) == size * size
    if not whole or not all(type(c) is int and 0 <= c <= size for c in cells):
        raise ValueError(
            "a Sudoku's truth must be 81 digits, or 16 or 36, 0 where empty, got "
            f"{str(truth)[:60]!r}"
        )
    return cells


def _graph(truth: Any) -> dict[str, Any]:
    """The truth of the task ``coloring``."""
    graph = parsed_truth(truth)
    try:
        vertices, colors = int(graph["v"]), int(graph["c"])
        edges = sorted({(min(a, b), max(a, b)) for a, b in graph["edges"]})
        usable = all(0 <= a < b < vertices for a, b in edges)
    except (TypeError, ValueError, KeyError):
        usable = False
    if not usable:
        raise ValueError(
            'a graph\'s truth must be {"v": .., "c": .., "edges": [[0, 1], ..]}, '
            f"got {str(truth)[:60]!r}"
        )
    return {"v": vertices, "c": colors, "edges": edges}
