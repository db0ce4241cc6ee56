"""Solution grids and the splits that they belong to.

9x9 and 6x6: renaming digits, moving rows in a band, columns in a stack, whole bands or stacks, and
turning the grid over (9x9) leave a grid in its split, so no puzzle of one split is one of another
in disguise. 4x4: all 288 grids are two up to these moves, so there a split is a set of grids.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from functools import cache

from percbal.tasks.splits import PARTS, SPLITS, in_split
from percbal.tasks.sudoku_grid import BOXES, Grid, geometry, solve

SWITCHES = {6: 1, 9: 30}  # of one grid, before another one is solved; 6x6 has few to go to


def random_solution(size: int, split: str, rng: random.Random) -> Grid:
    """A solution grid of the split (uniform among the 4x4 ones)."""
    if size == 4:
        return list(rng.choice(solutions_4x4()[split]))
    geo = geometry(size)
    while True:
        solution = solve([0] * geo.cells, geo, rng=rng)[0]
        for _ in range(SWITCHES[size]):
            if in_split(symmetry_key(solution, size), split):
                return solution
            solution = switched(solution, size, rng)


def switched(solution: Sequence[int], size: int, rng: random.Random) -> Grid:
    """Another solution grid, for a small part of the time that solving one takes.

    Two rows of a band are a permutation of the digits. In the columns of one of its cycles they
    hold the same digits, so there they can change places.
    """
    high, _ = BOXES[size]
    band = rng.randrange(size // high) * high
    top, below = (size * (band + row) for row in rng.sample(range(high), 2))
    grid = list(solution)
    column_of = {grid[top + column]: column for column in range(size)}
    column = first = rng.randrange(size)
    while True:
        up, down = top + column, below + column
        grid[up], grid[down] = grid[down], grid[up]
        column = column_of[grid[up]]
        if column == first:
            return grid


@cache
def solutions_4x4() -> dict[str, list[Grid]]:
    """All 288 grids by split, in the order of their hashes; the first 48 are the test's."""
    geo = geometry(4)
    grids = sorted(solve([0] * 16, geo, limit=1000), key=_digest)
    part = len(grids) / PARTS
    return {
        split: grids[round(parts.start * part) : round(parts.stop * part)]
        for split, parts in SPLITS.items()
    }


def _digest(grid: Grid) -> str:
    return hashlib.sha256(bytes(grid)).hexdigest()


def symmetry_key(solution: Sequence[int], size: int) -> str:
    """The same text for all grids that the moves make of one another.

    The lengths of the cycles of two rows (see `switched`) depend neither on the names of the digits
    nor on the order of the columns. The key is those of all pairs of rows of a band, and likewise
    of columns; turning the grid over swaps the two.
    """
    high, wide = BOXES[size]
    rows = [tuple(solution[i * size : (i + 1) * size]) for i in range(size)]
    by_rows, by_columns = _cycles(rows, high), _cycles([*zip(*rows, strict=True)], wide)
    return str(sorted((by_rows, by_columns)) if high == wide else (by_rows, by_columns))


def _cycles(lines: Sequence[tuple[int, ...]], band: int) -> list[list[int]]:
    return sorted(
        _cycle_lengths(dict(zip(lines[i], lines[j], strict=True)))
        for i in range(len(lines))
        for j in range(i // band * band, i)
    )


def _cycle_lengths(image: dict[int, int]) -> list[int]:
    lengths = []
    while image:
        digit, following = image.popitem()
        length = 1
        while following != digit:
            following = image.pop(following)
            length += 1
        lengths.append(length)
    return sorted(lengths)
