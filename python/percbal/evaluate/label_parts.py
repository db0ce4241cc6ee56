"""Texts against labels, part by part where both are grids or edges of a graph."""

from __future__ import annotations

from typing import Any

from percbal.responses.reading import Refusal
from percbal.tasks.base import Table, WrongPart
from percbal.tasks.judging import wrong_parts
from percbal.tasks.parts import clue_parts, edge_parts, edge_table, grid_table
from percbal.tasks.read_graph import read_edges
from percbal.tasks.read_grid import read_grid
from percbal.tasks.sudoku_grid import SIZES, Grid
from percbal.tasks.sudoku_text import parse_grid

LONGEST = 300  # characters of a text that is shown whole


def label_table(text: str, label: str, grammar: str | None, right: bool) -> Table:
    """By parts if they agree with ``right``, which the grammar says of the whole, or else whole."""
    if (pair := _pair(text, label, grammar)) is not None:
        table = edge_table(*pair) if grammar == "edges" else grid_table(*pair)
        if all(ok for row in table for _, ok in row) is right:
            return table
    text = text.strip()
    return [[(text if len(text) <= LONGEST else f"{text[:LONGEST]} ..", right)]]


def label_wrong_parts(text: str, label: str, grammar: str | None) -> list[WrongPart]:
    """The parts that differ; none where the two have no parts."""
    pair = _pair(text, label, grammar)
    parts: Any = edge_parts if grammar == "edges" else clue_parts
    return [] if pair is None else wrong_parts(*map(parts, pair))


def _pair(text: str, label: str, grammar: str | None) -> tuple[Any, Any] | None:
    """Both read, if both can be and are of one size."""
    read = {"edges": read_edges, "grid": _grid}.get(grammar or "")
    if read is None:
        return None
    ours, theirs = read(text), read(label)
    if isinstance(ours, Refusal) or isinstance(theirs, Refusal):
        return None
    return (ours, theirs) if grammar == "edges" or len(ours) == len(theirs) else None


def _grid(text: str) -> Grid | Refusal:
    """Of any size that tasks know."""
    for size in SIZES:
        for found in (parse_grid(text, size), read_grid(text, size)):
            if isinstance(found, list):
                return found
    return Refusal("no_grid", "there is no grid")
