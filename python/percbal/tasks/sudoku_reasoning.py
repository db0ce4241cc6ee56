"""Solves a Sudoku and says how, step by step, with guesses and what takes them back."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

from percbal.tasks.phrases import Phrases
from percbal.tasks.sudoku_grid import Geometry, Grid, candidates, digits_of, geometry
from percbal.tasks.sudoku_text import cell_names, cell_words

Item = TypeVar("Item")
KEYWORDS = "row column box left none set skip guess conflict undo grid try clear taken".split()
STYLES = {
    "terse": Phrases(
        {
            "look": "{cell}",
            "house": "{house} {cells}",
            "left": "left {digits}",
            "skip": "skip",
            "bare": "{value}",
            "set": "set {value}",
            "guess": "guess {value}",
            "conflict": "conflict {cell} undo {value}",
            "grid": "grid {cells}",
            "try": "try {value}",
            "trial": "{house} {cells} {found}",
        }
    ),
    "plain": Phrases(
        {
            "look": "Look at {cell}.",
            "house": "Its {house} has {cells}.",
            "left": "What can stand there: {digits}.",
            "skip": "That is not decided yet.",
            "bare": "{value}",
            "set": "So {value}.",
            "guess": "Suppose {value}.",
            "conflict": "Nothing fits {cell}, so {value} was wrong.",
            "grid": "Now the grid is {cells}.",
            "try": "Can it be {value}?",
            "trial": "Its {house} has {cells}: {found}.",
        }
    ),
    "thinking": Phrases(
        {
            "look": "Let me check {cell}.",
            "house": "In the {house} I see {cells},",
            "left": "which leaves {digits}.",
            "skip": "I come back to it later.",
            "bare": "{value}",
            "set": "It must be {value}.",
            "guess": "No step is sure, so I try {value}.",
            "conflict": "Wait, nothing is left for {cell}. I take {value} back.",
            "grid": "I now have {cells}.",
            "try": "What about {value}?",
            "trial": "In the {house} I see {cells}, so it is {found}.",
        }
    ),
}


def reasoning_words(size: int, style: Phrases) -> list[str]:
    """Every word that `reasoning_text` can have in a style."""
    digits = [str(digit) for digit in range(1, size + 1)]
    values = [word for words in cell_words(size) for word in words]
    fields = {"cell": cell_names(size), "cells": values, "value": values}
    fields |= {"house": ["row", "column", "box"], "digits": [*digits, "none"]}
    return style.words(fields | {"found": ["taken", "clear"]})


def reasoning_text(
    clues: Sequence[int],
    size: int,
    verbosity: int,
    order: random.Random | None = None,
    style: Phrases = STYLES["terse"],
) -> tuple[str, int]:
    """A chain of thought that solves the grid, and how many guesses it takes.

    Blank cells are visited again and again, in reading order, or, given a source of chance, in
    any order, as are the houses of a cell and the cells of a house; one with a single candidate is
    set. When a round sets nothing, the solver guesses at a cell with the fewest candidates, and
    on a conflict undoes the last guess with all that followed. What is written down:

    verbosity -1: the cells in the order in which they are set, ``guess``, ``conflict``, ``undo``
    verbosity 0: also the word ``set`` before each that is set
    verbosity 1: every visit, with the row, the column, the box and the candidates ``left``
    verbosity 2: also the whole grid after every change
    verbosity 3: at every visit each digit is tried against the row, the column and the box

    ValueError if the grid has no solution.
    """
    solver = _Solver(clues, geometry(size), verbosity, order, style)
    while not solver.done:
        solver.step()
    return " ".join(solver.said), solver.guesses


def guesses_needed(clues: Sequence[int], size: int, most: int) -> int | None:
    """How many guesses ``reasoning_text`` takes in reading order; None for more than ``most``."""
    solver = _Solver(clues, geometry(size), verbosity=0)
    while not solver.done and solver.guesses <= most:
        solver.step()
    return solver.guesses if solver.guesses <= most else None


class _Solver:
    """Solves a grid and writes down how."""

    def __init__(
        self,
        clues: Sequence[int],
        geo: Geometry,
        verbosity: int,
        order: random.Random | None = None,
        style: Phrases = STYLES["terse"],
    ) -> None:
        self.order = order
        self.style = style
        self.grid = list(clues)
        self.geo = geo
        self.verbosity = verbosity
        self.said: list[str] = []
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
            self._say_visit(cell, mask)
            if not mask:
                self._backtrack(cell)
                return True
            if mask & (mask - 1):
                self._say(1, "skip")
            else:
                self._put("set", cell, mask.bit_length())
                changed = True
        return changed

    def _guess(self) -> None:
        blanks = [cell for cell, digit in enumerate(self.grid) if not digit]
        masks = {cell: candidates(self.grid, cell, self.geo) for cell in blanks}
        cell = min(blanks, key=lambda c: masks[c].bit_count())
        self._say(1, "look", cell=self.names[cell])
        self._say(1, "left", digits=_digits(masks[cell]))
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
        undone = self.cell_words[cell][digits[0]]
        self._say(-1, "conflict", cell=self.names[conflict], value=undone)
        self._say(1, "grid", cells=self._state(range(self.geo.cells)))
        self._try_next(cell, digits[1:])

    def _put(self, how: str, cell: int, digit: int) -> None:
        self.grid[cell] = digit
        how = "bare" if how == "set" and self.verbosity < 0 else how
        self._say(-1, how, value=self.cell_words[cell][digit])
        if self.verbosity >= 2:
            self._say(2, "grid", cells=self._state(range(self.geo.cells)))

    def _say(self, verbosity: int, step: str, **fields: str) -> None:
        """Add a phrase, from a verbosity on."""
        if self.verbosity >= verbosity:
            self.said.append(self.style.say(step, **fields))

    def _state(self, cells: Sequence[int]) -> str:
        return " ".join(self.cell_words[cell][self.grid[cell]] for cell in cells)

    def _say_visit(self, cell: int, mask: int) -> None:
        if self.verbosity < 1:
            return
        self._say(1, "look", cell=self.names[cell])
        if self.verbosity < 3:
            for house, peers in self._houses(cell):
                self._say(1, "house", house=house, cells=self._state(peers))
        else:
            for digit in range(1, self.geo.size + 1):
                self._say_trial(cell, digit)
        self._say(1, "left", digits=_digits(mask))

    def _say_trial(self, cell: int, digit: int) -> None:
        self._say(3, "try", value=self.cell_words[cell][digit])
        for house, peers in self._houses(cell):
            taken = any(self.grid[peer] == digit for peer in peers)
            found = "taken" if taken else "clear"
            self._say(3, "trial", house=house, cells=self._state(peers), found=found)

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


def _digits(mask: int) -> str:
    return " ".join(map(str, digits_of(mask))) if mask else "none"
