"""The words of a Sudoku response: the grid, the solver's chain of thought, and the parser.

Every text is words with one space between them. A cell with its value is one word (``r1c2=3``,
``r1c2=_`` when empty), so that one step of reasoning is a look-up of earlier words.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from typing import TypeVar

from percbal.tasks.sudoku_grid import Geometry, Grid, candidates, digits_of, geometry

Item = TypeVar("Item")
VERBOSITIES = (0, 1, 2, 3)
KEYWORDS = "row column box left none set skip guess conflict undo grid try clear taken".split()


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


def reasoning_text(
    clues: Sequence[int], size: int, verbosity: int, order: random.Random | None = None
) -> tuple[str, int]:
    """A chain of thought that solves the grid, and how many guesses it takes.

    Blank cells are visited again and again, in reading order, or, given a source of chance, in
    any order, as are the houses of a cell and the cells of a house; one with a single candidate is
    set. When a round sets nothing, the solver guesses at a cell with the fewest candidates, and
    on a conflict undoes the last guess with all that followed. What is written down:

    verbosity 0: ``set``, ``guess``, ``conflict`` and ``undo`` alone
    verbosity 1: every visit, with the row, the column, the box and the candidates ``left``
    verbosity 2: also the whole grid after every change
    verbosity 3: at every visit each digit is tried against the row, the column and the box

    ValueError if the grid has no solution.
    """
    solver = _Solver(clues, geometry(size), verbosity, order)
    while not solver.done:
        solver.step()
    return " ".join(solver.words), solver.guesses


def takes_at_most(guesses: int, clues: Sequence[int], size: int) -> bool:
    """Whether ``reasoning_text`` solves the grid with so many guesses; stops at one more."""
    solver = _Solver(clues, geometry(size), verbosity=0)
    while not solver.done and solver.guesses <= guesses:
        solver.step()
    return solver.guesses <= guesses


class _Solver:
    """Solves a grid and writes down how."""

    def __init__(
        self,
        clues: Sequence[int],
        geo: Geometry,
        verbosity: int,
        order: random.Random | None = None,
    ) -> None:
        self.order = order
        self.grid = list(clues)
        self.geo = geo
        self.verbosity = verbosity
        self.words: list[str] = []
        self.guesses = 0
        self.open_guesses: list[tuple[int, list[int], Grid]] = []  # cell, its digits, grid before
        self.names = cell_names(geo.size)
        self.cell_words = cell_words(geo.size)

    @property
    def done(self) -> bool:
        return 0 not in self.grid

    def step(self) -> None:
        """One round over the blanks, or a guess where a round changes nothing."""
        if not self._round():
            self._guess()

    def _round(self) -> bool:
        """Visit every blank; whether anything changed."""
        changed = False
        for cell in self._ordered([cell for cell, digit in enumerate(self.grid) if not digit]):
            mask = candidates(self.grid, cell, self.geo)
            self._write_visit(cell, mask)
            if not mask:
                self._backtrack(cell)
                return True
            if mask & (mask - 1):
                self._write("skip", at=1)
            else:
                self._put("set", cell, mask.bit_length())
                changed = True
        return changed

    def _guess(self) -> None:
        blanks = [cell for cell, digit in enumerate(self.grid) if not digit]
        masks = {cell: candidates(self.grid, cell, self.geo) for cell in blanks}
        cell = min(blanks, key=lambda c: masks[c].bit_count())
        self._write(self.names[cell], *self._left(masks[cell]), at=1)
        self._try_next(cell, digits_of(masks[cell]))

    def _try_next(self, cell: int, digits: list[int]) -> None:
        """Guess the first of the digits, or set it if it is the only one not refuted."""
        if len(digits) == 1:
            self._put("set", cell, digits[0])
            return
        self.open_guesses.append((cell, digits, list(self.grid)))
        self.guesses += 1
        self._put("guess", cell, digits[0])

    def _backtrack(self, conflict: int) -> None:
        if not self.open_guesses:
            raise ValueError(f"the grid has no solution: nothing fits {self.names[conflict]}")
        cell, digits, self.grid = self.open_guesses.pop()
        self._write("conflict", self.names[conflict], "undo", self.cell_words[cell][digits[0]])
        self._write_grid(at=1)
        self._try_next(cell, digits[1:])

    def _put(self, how: str, cell: int, digit: int) -> None:
        self.grid[cell] = digit
        self._write(how, self.cell_words[cell][digit])
        self._write_grid(at=2)

    def _write(self, *words: str, at: int = 0) -> None:
        """Add words, from a verbosity on."""
        if self.verbosity >= at:
            self.words.extend(words)

    def _write_grid(self, at: int) -> None:
        self._write("grid", *self._state(range(self.geo.cells)), at=at)

    def _state(self, cells: Sequence[int]) -> list[str]:
        return [self.cell_words[cell][self.grid[cell]] for cell in cells]

    def _left(self, mask: int) -> list[str]:
        return ["left", *(map(str, digits_of(mask)) if mask else ["none"])]

    def _write_visit(self, cell: int, mask: int) -> None:
        if self.verbosity == 0:
            return
        self._write(self.names[cell])
        if self.verbosity < 3:
            for house, peers in self._houses(cell):
                self._write(house, *self._state(peers))
        else:
            for digit in range(1, self.geo.size + 1):
                self._write_trial(cell, digit)
        self._write(*self._left(mask))

    def _write_trial(self, cell: int, digit: int) -> None:
        self._write("try", self.cell_words[cell][digit])
        for house, peers in self._houses(cell):
            taken = any(self.grid[peer] == digit for peer in peers)
            self._write(house, *self._state(peers), "taken" if taken else "clear")

    def _houses(self, cell: int) -> list[tuple[str, list[int]]]:
        """The cell's peers; a box names only those that are in neither the row nor the column."""
        geo = self.geo
        return self._ordered(
            [
                ("row", self._ordered(geo.row_of[cell])),
                ("column", self._ordered(geo.column_of[cell])),
                ("box", self._ordered(geo.box_of[cell])),
            ]
        )

    def _ordered(self, items: Sequence[Item]) -> list[Item]:
        """As they are, or in any order."""
        return list(items) if self.order is None else self.order.sample(items, len(items))
