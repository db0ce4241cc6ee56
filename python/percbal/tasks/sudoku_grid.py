"""Sudoku grids without words or pictures: geometry, solver, solution grids, puzzles.

A grid is a list of ``size * size`` digits in reading order, 0 for an empty cell. Sets of digits
are bit masks with bit ``d - 1`` for digit ``d``.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from functools import cache
from typing import Any

Grid = list[int]
Filled = dict[int, int]  # cell -> digit, of the cells that were filled in
SIZES = (4, 6, 9)
BOXES = {4: (2, 2), 6: (2, 3), 9: (3, 3)}  # rows and columns of a box


class Geometry:
    """Rows, columns and boxes of a ``size`` x ``size`` Sudoku."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.cells = size * size
        self.all_digits = (1 << size) - 1
        high, wide = BOXES[size]
        self.rows = [[row * size + column for column in range(size)] for row in range(size)]
        self.columns = [[row * size + column for row in range(size)] for column in range(size)]
        self.boxes = [
            [(top + i) * size + left + j for i in range(high) for j in range(wide)]
            for top in range(0, size, high)
            for left in range(0, size, wide)
        ]
        self.houses = self.rows + self.columns + self.boxes
        # per cell: the other cells of its row, of its column, and those of its box in neither
        self.row_of = [[c for c in self.rows[cell // size] if c != cell] for cell in self._all()]
        self.column_of = [
            [c for c in self.columns[cell % size] if c != cell] for cell in self._all()
        ]
        self.box_of = [self._box_only(cell) for cell in self._all()]
        self.peers = [
            self.row_of[cell] + self.column_of[cell] + self.box_of[cell] for cell in self._all()
        ]

    def _all(self) -> range:
        return range(self.cells)

    def _box_only(self, cell: int) -> list[int]:
        seen = {cell, *self.row_of[cell], *self.column_of[cell]}
        box = next(box for box in self.boxes if cell in box)
        return [c for c in box if c not in seen]


@cache
def geometry(size: int) -> Geometry:
    """The geometry of a 4x4, 6x6 or 9x9 Sudoku."""
    return Geometry(size)


def candidates(grid: Sequence[int], cell: int, geo: Geometry) -> int:
    """Mask of the digits that no peer of ``cell`` holds."""
    used = 0
    for peer in geo.peers[cell]:
        if grid[peer]:
            used |= 1 << (grid[peer] - 1)
    return geo.all_digits & ~used


def digits_of(mask: int) -> list[int]:
    """The digits in a mask, ascending."""
    return [digit for digit in range(1, mask.bit_length() + 1) if mask >> (digit - 1) & 1]


def is_solution(grid: Sequence[int], clues: Sequence[int], geo: Geometry) -> bool:
    """Whether ``grid`` is complete, keeps every clue, and has each digit once in every house."""
    if any(clue and clue != digit for clue, digit in zip(clues, grid, strict=True)):
        return False
    whole = set(range(1, geo.size + 1))
    return all({grid[cell] for cell in house} == whole for house in geo.houses)


def completed(said: Any, clues: Sequence[int]) -> Any:
    """A grid as it is; filled cells as the grid that they make with the clues; else None."""
    if not isinstance(said, dict):
        return said if isinstance(said, list) else None
    return [said.get(cell, clue) for cell, clue in enumerate(clues)]


def solves(said: Any, clues: Sequence[int]) -> bool:
    """Whether a grid, or the cells that were filled in, is a solution; no for anything else.

    Filled cells have to fill something, so that nobody is right who takes a whole grid for clues.
    """
    grid = completed(said, clues)
    if grid is None or (isinstance(said, dict) and all(clues)):
        return False
    return is_solution(grid, clues, geometry(math.isqrt(len(clues))))


def share_right(seen: Sequence[int], true: Sequence[int]) -> float:
    """The share of the cells that are the same in both."""
    return sum(ours == theirs for ours, theirs in zip(seen, true, strict=True)) / len(true)


def by_row(grid: Sequence[int]) -> list[Grid]:
    """The rows of a square grid."""
    size = math.isqrt(len(grid))
    return [list(grid[start : start + size]) for start in range(0, len(grid), size)]


def solve(
    grid: Sequence[int], geo: Geometry, limit: int = 1, rng: random.Random | None = None
) -> list[Grid]:
    """Up to ``limit`` solutions: depth first, on the cell with the fewest candidates.

    With ``rng`` the digits are tried in random order, so an empty grid gives a random one.
    """
    work = list(grid)
    masks = [0 if work[cell] else candidates(work, cell, geo) for cell in range(geo.cells)]
    if any(grid[p] == digit for cell, digit in enumerate(grid) if digit for p in geo.peers[cell]):
        return []
    blanks = {cell for cell in range(geo.cells) if not work[cell]}
    solutions: list[Grid] = []
    _search(work, masks, blanks, geo, limit, rng, solutions)
    return solutions


def _search(
    work: Grid,
    masks: list[int],
    blanks: set[int],
    geo: Geometry,
    limit: int,
    rng: random.Random | None,
    solutions: list[Grid],
) -> None:
    if not blanks:
        solutions.append(list(work))
        return
    cell = min(blanks, key=lambda c: (masks[c].bit_count(), c))
    digits = digits_of(masks[cell])
    if rng is not None:
        rng.shuffle(digits)
    blanks.discard(cell)
    for digit in digits:
        bit = 1 << (digit - 1)
        touched = [p for p in geo.peers[cell] if p in blanks and masks[p] & bit]
        work[cell] = digit
        for peer in touched:
            masks[peer] &= ~bit
        _search(work, masks, blanks, geo, limit, rng, solutions)
        for peer in touched:
            masks[peer] |= bit
        if len(solutions) >= limit:
            break
    work[cell] = 0
    blanks.add(cell)


def solved_by_singles(grid: Sequence[int], geo: Geometry) -> bool:
    """Whether filling cells that have one candidate left, again and again, solves the grid."""
    work = list(grid)
    blanks = [cell for cell in range(geo.cells) if not work[cell]]
    while blanks:
        left = []
        for cell in blanks:
            mask = candidates(work, cell, geo)
            if mask and not mask & (mask - 1):
                work[cell] = mask.bit_length()
            else:
                left.append(cell)
        if len(left) == len(blanks):
            return False
        blanks = left
    return True


def dig(
    solution: Grid, blanks: int, geo: Geometry, rng: random.Random, singles_only: bool
) -> Grid | None:
    """Empty ``blanks`` cells in random order, keeping the puzzle solvable; None if stuck.

    Solvable means with one solution, or with ``singles_only`` by single candidates alone.
    """
    grid = list(solution)
    order = list(range(geo.cells))
    rng.shuffle(order)
    emptied = 0
    for cell in order:
        if emptied == blanks:
            break
        digit, grid[cell] = grid[cell], 0
        if _still_solvable(grid, cell, digit, geo, singles_only):
            emptied += 1
        else:
            grid[cell] = digit
    return grid if emptied == blanks else None


def _still_solvable(grid: Grid, cell: int, digit: int, geo: Geometry, singles_only: bool) -> bool:
    """Whether a puzzle stays solvable now that ``digit`` has been taken out of ``cell``."""
    others = candidates(grid, cell, geo) & ~(1 << (digit - 1))
    if not others:
        return True  # the cell is filled at once, and the rest is as solvable as before
    if singles_only:
        return solved_by_singles(grid, geo)
    # the old puzzle had one solution, so a second one needs another digit in this cell
    return not any(
        solve([*grid[:cell], other, *grid[cell + 1 :]], geo) for other in digits_of(others)
    )
