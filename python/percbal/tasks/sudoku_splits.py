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


def random_solution(size: int, split: str, rng: random.Random) -> Grid:
    """A solution grid of the split (uniform among the 4x4 ones)."""
    if size == 4:
        return list(rng.choice(solutions_4x4()[split]))
    geo = geometry(size)
    while True:
        solution = solve([0] * geo.cells, geo, rng=rng)[0]
        if in_split(symmetry_key(solution, size), split):
            return solution


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

    Any two rows are a permutation of the digits. Its cycles' lengths depend neither on the names of
    the digits nor on the order of the columns. The key is those lengths for all pairs of rows, with
    whether they share a band, and likewise of columns; turning the grid over swaps the two.
    """
    high, wide = BOXES[size]
    rows = [tuple(solution[i * size : (i + 1) * size]) for i in range(size)]
    by_rows, by_columns = _cycles(rows, high), _cycles([*zip(*rows, strict=True)], wide)
    return str(sorted((by_rows, by_columns)) if high == wide else (by_rows, by_columns))


def _cycles(lines: Sequence[tuple[int, ...]], band: int) -> list[tuple[bool, list[int]]]:
    return sorted(
        (i // band == j // band, _cycle_lengths(dict(zip(lines[i], lines[j], strict=True))))
        for i in range(len(lines))
        for j in range(i)
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
