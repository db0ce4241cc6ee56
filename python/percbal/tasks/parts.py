"""Grids, graphs and colourings part by part, each part with its name, for people to look at."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import isqrt

from percbal.tasks.base import Table, WrongPart
from percbal.tasks.coloring_graph import Edge, Edges
from percbal.tasks.sudoku_grid import Grid, geometry
from percbal.tasks.sudoku_text import cell_names

COLORS = "colors"  # the name of their number, as a part of an answer


def clue_parts(grid: Grid) -> dict[str, str]:
    """The cells that are not empty."""
    names = cell_names(isqrt(len(grid)))
    return {name: str(digit) for name, digit in zip(names, grid, strict=True) if digit}


def edge_parts(edges: Edges) -> dict[str, str]:
    """An edge shows nothing but itself."""
    return {f"{a}-{b}": "" for a, b in sorted(edges)}


def grid_table(grid: Grid, right: Grid) -> Table:
    """Cell by cell."""
    return _rows(grid, [digit == r for digit, r in zip(grid, right, strict=True)])


def solution_table(grid: Grid, clues: Grid) -> Table:
    """Cell by cell, by the rules (`_by_the_rules`)."""
    return _rows(grid, _by_the_rules(grid, clues))


def wrong_by_the_rules(grid: Grid, clues: Grid) -> list[WrongPart]:
    """The wrong cells of `solution_table`; what is right there is known of clues alone."""
    cells = zip(cell_names(isqrt(len(grid))), clues, grid, strict=True)
    return [
        (name, str(clue) if clue else None, str(digit) if digit else None)
        for (name, clue, digit), ok in zip(cells, _by_the_rules(grid, clues), strict=True)
        if not ok
    ]


def _by_the_rules(grid: Grid, clues: Grid) -> list[bool]:
    """Wrong is a cell that is empty or has another digit than its clue, and one without a clue that
    has the digit of another one of its row, column or box."""
    peers = geometry(isqrt(len(grid))).peers
    return [
        digit == clue if clue else bool(digit) and all(grid[p] != digit for p in peers[cell])
        for cell, (digit, clue) in enumerate(zip(grid, clues, strict=True))
    ]


def _rows(grid: Grid, right: Sequence[bool]) -> Table:
    cells = [(str(digit or ""), ok) for digit, ok in zip(grid, right, strict=True)]
    size = isqrt(len(cells))
    return [cells[start : start + size] for start in range(0, len(cells), size)]


def wrong_cells(grid: Grid, right: Grid) -> list[WrongPart]:
    """The cells that differ from the one solution."""
    cells = zip(cell_names(isqrt(len(grid))), right, grid, strict=True)
    return [(name, str(r), str(digit) if digit else None) for name, r, digit in cells if digit != r]


def edge_table(seen: Edges, true: Edges) -> Table:
    """The edges that were seen, and those that were missed."""
    shown = [(f"{a}-{b}", (a, b) in true) for a, b in sorted(seen)]
    missed = [(f"no {a}-{b}", False) for a, b in sorted(true - seen)]
    return [[part] for part in shown + missed]


def color_table(
    colors: Mapping[int, str], true: Collection[Edge], vertices: int, fewest: int
) -> Table:
    """Each vertex's colour, marked where a true edge joins it with its own; vertices without one;
    another number of colours than ``fewest``."""
    wrong = {name for name, _, _ in wrong_colors(colors, true, vertices, fewest)}
    shown = [(f"{v}={c}", str(v) not in wrong) for v, c in sorted(colors.items())]
    shown += [(f"no {v}", False) for v in range(vertices) if v not in colors]
    if COLORS in wrong:
        shown.append((f"{len({*colors.values()})} colors, not {fewest}", False))
    return [[part] for part in shown]


def wrong_colors(
    colors: Mapping[int, str], true: Collection[Edge], vertices: int, fewest: int
) -> list[WrongPart]:
    """The vertices whose colour a neighbour has, that are not there, or that have no colour; and
    the number of colours, if it is another one than ``fewest``."""
    clash = {v for a, b in true if colors.get(a) == colors.get(b) for v in (a, b)}
    wrong: list[WrongPart] = [
        (str(v), None, c) for v, c in sorted(colors.items()) if v in clash or v >= vertices
    ]
    wrong += [(str(v), None, None) for v in range(vertices) if v not in colors]
    if (number := len({*colors.values()})) != fewest:
        wrong.append((COLORS, str(fewest), str(number)))
    return wrong
