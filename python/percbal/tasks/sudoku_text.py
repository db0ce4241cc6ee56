"""A Sudoku grid as words, and back.

A cell with its value is one word (``r1c2=3``, ``r1c2=_`` when empty), so that one step of reasoning
is a look-up of earlier words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache

from percbal.responses.reading import Refusal
from percbal.tasks.sudoku_grid import Filled, Grid

CELL = re.compile(r"(?<!\w)r([1-9])c([1-9])[ \t]*=[ \t]*([1-9])(?!\w)", re.IGNORECASE | re.ASCII)
FENCE = re.compile(r"^[ \t]*+(?:```|~~~)[ \t]*+\w*+[ \t]*+$", re.MULTILINE)
LIST_MARK = re.compile(r"^[ \t]*(?:[-*+•]|\d{1,2}[.)])[ \t]", re.MULTILINE)
AROUND = re.compile(r"[\s,;`*]+")  # what may stand between cells
EQUALS = re.compile(" ?= ?")


@cache
def cell_words(size: int) -> list[list[str]]:
    """``cell_words(size)[cell][digit]`` is the word for that digit there, 0 for empty."""
    return [[f"{name}={digit or '_'}" for digit in range(size + 1)] for name in cell_names(size)]


@cache
def cell_names(size: int) -> list[str]:
    """``r1c1`` .. in reading order."""
    return [f"r{row + 1}c{column + 1}" for row in range(size) for column in range(size)]


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


def parse_filled(text: str, size: int) -> Filled | Grid | str | None:
    """The digits of a text of cells that were filled in, in any order and each cell once: a grid
    where all are there; None for a text without any; linear in its length.

    Lists, commas, code fences and capitals do not matter. One sentence where something else is
    among the cells.
    """
    named = [tuple(map(int, found)) for found in CELL.findall(text)]
    if not named:
        return None
    if outside := [cell for cell in named if max(cell) > size]:
        return f"a filled cell is none of {size} x {size}: {_word(*outside[0])}"
    filled: Filled = {}
    for row, column, digit in named:
        cell = (row - 1) * size + column - 1
        if cell in filled:
            return f"the filled cell r{row}c{column} stands there twice"
        filled[cell] = digit
    rest = AROUND.sub(" ", CELL.sub("", _bare(text))).strip()
    if rest:
        return f"among filled cells, such as {_word(*named[0])}, stands {rest[:20]!r}"
    return [filled[cell] for cell in range(size * size)] if len(filled) == size * size else filled


def read_answer(
    text: str, size: int, read: Callable[[str, int], Grid | Refusal]
) -> Grid | Filled | Refusal:
    """The cells that were filled in, or the whole grid. read: a text that is a grid."""
    filled = parse_filled(text, size)
    if filled is not None and not isinstance(filled, str):
        return filled
    grid = read(text, size)
    if isinstance(grid, Refusal):
        problem = filled or f"no filled cells such as r1c2=3 are there, and {grid.problem}"
        return Refusal(grid.reason, problem)
    return grid


def _word(row: int, column: int, digit: int) -> str:
    return f"r{row}c{column}={digit}"


def _bare(text: str) -> str:
    """Without code fences, the marks of a list and a final full stop."""
    unfenced = FENCE.sub("", text).rstrip(" \t\n`*").removesuffix(".")
    return LIST_MARK.sub("", unfenced)


def read_words(text: str, size: int) -> Grid | str:
    """As `parse_grid`, but lists, commas, code fences, capitals and a final full stop do not
    matter, as in `parse_filled`."""
    own = parse_grid(text, size)
    if isinstance(own, list):
        return own
    plain = parse_grid(EQUALS.sub("=", AROUND.sub(" ", _bare(text))).lower(), size)
    return plain if isinstance(plain, list) else own


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
