"""Columns of arXiv:2605.29496: query, image, ground_truth, response.

Its tasks are Sudoku, whose ground truth is a list of 81 numbers with 0 for an empty cell, and graph
colouring, whose ground truth is ``{"v": 7, "c": 3, "edges": [[0, 1], ..]}``. Smaller grids and
charts, which are no tasks of the paper, have theirs in the same manner: 16 or 36 numbers, and
``{"kind": "bar", "values": {"Mon": 30, ..}, "question": {..}}``. Each is what the image shows, so
the columns ``perception`` (p*), ``grammar`` and ``truth`` follow from it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from percbal.data.lines import BadRow, json_or_text

SIZES = (4, 6, 9)


def labels_of(row: Mapping[str, Any]) -> dict[str, str]:
    """The columns that follow from a row's ground truth; none where that is no such JSON."""
    truth = row.get("ground_truth")
    truth = json_or_text(truth)
    if isinstance(truth, dict) and "values" in truth:
        return _labels("numbers", _chart(truth), truth["values"])
    if isinstance(truth, dict):
        return _labels("edges", _graph(truth))
    if isinstance(truth, list):
        return _labels("grid", _cells(truth))
    return {}


def _labels(grammar: str, truth: Any, shown: Any = None) -> dict[str, str]:
    """shown: what the image shows of the truth, if not all."""
    text, seen = (json.dumps(x, separators=(",", ":")) for x in (truth, shown or truth))
    return {"perception": seen, "grammar": grammar, "truth": text}


def _cells(truth: list[Any]) -> list[int]:
    """The cells of a grid, row after row."""
    n = len(truth)
    rows = all(isinstance(row, list) and len(row) == n for row in truth)
    cells = [cell for row in truth for cell in row] if rows else truth
    size = math.isqrt(len(cells))
    whole = size in SIZES and len(cells) == size * size
    if not whole or not all(_is_count(cell) and cell <= size for cell in cells):
        raise BadRow(
            "ground_truth must be 81 numbers from 0 to 9 or 9 lists of 9, or likewise of a grid of "
            f"4x4 or 6x6, it is {truth!r:.60}"
        )
    return cells


def _chart(truth: dict[str, Any]) -> dict[str, Any]:
    values, question = truth["values"], truth.get("question")
    table = isinstance(values, dict) and values and all(map(_is_number, values.values()))
    if not table or not isinstance(question, dict) or "kind" not in question:
        raise BadRow(
            'ground_truth must be {"values": {label: number, ..}, "question": {"kind": .., ..}}, '
            f"it is {truth!r:.60}"
        )
    return truth


def _graph(truth: dict[str, Any]) -> dict[str, Any]:
    n, edges = truth.get("v"), truth.get("edges")
    pairs = isinstance(edges, list) and all(isinstance(e, list) and len(e) == 2 for e in edges)
    ends = [end for edge in edges for end in edge] if pairs and edges else []
    counts = all(map(_is_count, [n, truth.get("c"), *ends]))
    if not pairs or not counts or any(end >= n for end in ends):
        raise BadRow(
            'ground_truth must be {"v": vertices, "c": colours, "edges": [[from, to], ..]} with '
            f"vertices from 0 to v - 1, it is {truth!r:.60}"
        )
    return {"v": n, "c": truth["c"], "edges": edges}


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that no float holds
        return False


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
