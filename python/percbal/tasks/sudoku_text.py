"""A Sudoku grid as words, and back.

A cell with its value is one word (``r1c2=3``, ``r1c2=_`` when empty), so that one step of reasoning
is a look-up of earlier words.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from percbal.tasks.sudoku_grid import Filled, Grid


@cache
def cell_words(size: int) -> list[list[str]]:
    """``cell_words(size)[cell][digit]`` is the word for that digit there, 0 for empty."""
    return [[f"{name}={digit or '_'}" for digit in range(size + 1)] for name in cell_names(size)]


@cache
def cell_names(size: int) -> list[str]:
    """``r1c1`` .. in reading order."""
    return [f"r{row + 1}c{column + 1}" for row in range(size) for column in range(size)]


@cache
def _digits_by_word(size: int) -> dict[str, tuple[int, int]]:
    """Word -> cell and digit, of cells that are not empty."""
    words = enumerate(cell_words(size))
    return {word: (cell, digit) for cell, of in words for digit, word in enumerate(of) if digit}


@cache
def _digit_by_word(size: int) -> list[dict[str, int]]:
    return [{word: digit for digit, word in enumerate(words)} for words in cell_words(size)]


def grid_text(grid: Sequence[int], size: int) -> str:
    """The canonical text of a grid: one word per cell, in reading order."""
    return " ".join(words[digit] for words, digit in zip(cell_words(size), grid, strict=True))


def filled_text(grid: Sequence[int], clues: Sequence[int], size: int) -> str:
    """The words of the cells that the clues leave empty, in reading order."""
    shown = zip(cell_words(size), grid, clues, strict=True)
    return " ".join(words[digit] for words, digit, clue in shown if not clue)


def parse_filled(text: str, size: int) -> Filled | None:
    """The digits of a text of some cells' words, in any order and each cell once; None for any
    other text, and for a whole grid; linear in its length."""
    words = text.split(maxsplit=size * size)
    found = [_digits_by_word(size).get(word) for word in words]
    filled = dict(cell for cell in found if cell is not None)
    return filled if 0 < len(filled) == len(words) < size * size else None


def parse_grid(text: str, size: int) -> Grid | str:
    """The grid of a canonical text, or one sentence on why it is none; linear in its length."""
    cells = size * size
    words = text.split(maxsplit=cells)
    if len(words) != cells:
        count = f"more than {cells}" if len(words) > cells else str(len(words))
        return f"a grid has {cells} cells, this has {count}"
    grid = []
    for cell, (word, digit_by_word) in enumerate(zip(words, _digit_by_word(size), strict=True)):
        digit = digit_by_word.get(word)
        if digit is None:
            expected = cell_names(size)[cell]
            return f"{word[:20]!r} stands where {expected}=<1 to {size}, or _> should"
        grid.append(digit)
    return grid
