"""Sudoku, 4x4, 6x6 or 9x9: read the clues off a picture, then complete the grid."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from PIL.Image import Image

from percbal.responses.reading import Refusal
from percbal.tasks.base import Instance, Place, Table, WrongPart
from percbal.tasks.options import as_pair, one_of
from percbal.tasks.parts import clue_parts, grid_table, wrong_cells
from percbal.tasks.phrases import Styles, list_words
from percbal.tasks.picture_task import FORMS, LEVELS, VERBOSITIES, PictureTask
from percbal.tasks.pictures import FONTS
from percbal.tasks.read_grid import read_grid
from percbal.tasks.sudoku_grid import (
    SIZES,
    Filled,
    Grid,
    by_row,
    completed,
    dig,
    geometry,
    share_right,
    solves,
)
from percbal.tasks.sudoku_image import Look, corner, render
from percbal.tasks.sudoku_reasoning import (
    KEYWORDS,
    STYLES,
    guesses_needed,
    reasoning_text,
    reasoning_words,
)
from percbal.tasks.sudoku_splits import random_solution
from percbal.tasks.sudoku_text import (
    cell_names,
    cell_words,
    filled_text,
    grid_text,
    read_answer,
    read_words,
)

QUERY = "Read the Sudoku grid in the image, then solve it."
PAPER_QUERY = (
    "You are given an image representing {n}x{n} Sudoku puzzle, where each cell contains either a "
    "digit from 1 to {n}, or an empty cell. Your task is to solve the Sudoku by filling in all "
    "empty cells. First, describe the Sudoku grid in the image as a {n}x{n} JSON list, where each "
    'cell is represented by an integer (1-{n}) or "-" for an empty cell. Then solve it step by '
    "step, and give the completed grid as a {n}x{n} JSON list of integers."
)
PIXELS = {4: 64, 6: 96, 9: 369}
MOST_BLANKS = {4: 12, 6: 22, 9: 50}  # beyond, most solution grids have no such puzzle
TRIES = 1000  # solution grids to dig in before giving up on an instance


class Level(NamedTuple):
    """What makes a puzzle hard to see and to solve, for options that are not given.

    shift is in pixels of a picture 64 wide, jitter in pixels of a cell 15 wide.
    """

    blanks: tuple[int, int]
    rotation: int
    noise: float
    jitter: int
    shift: int
    max_guesses: int = 0


HARDNESS = {  # 9x9: the paper's puzzles have 16 blanks, and its pictures are clean
    4: (
        Level((3, 6), 4, 0.02, 0, 1),
        Level((6, 9), 14, 0.08, 1, 2),
        Level((9, 11), 24, 0.14, 2, 3),
    ),
    6: (
        Level((6, 12), 4, 0.02, 0, 1),
        Level((12, 18), 14, 0.08, 1, 2),
        Level((18, 22), 24, 0.14, 1, 3),
    ),
    9: (
        Level((16, 16), 0, 0.0, 0, 0),
        Level((16, 30), 14, 0.0, 1, 2),
        Level((40, 50), 24, 0.1, 2, 2, max_guesses=4),
    ),
}


class Puzzle(NamedTuple):
    """Clues with one solution, and the guesses that the solver takes in reading order."""

    clues: Grid
    solution: Grid
    guesses: int


class Sudoku(PictureTask):
    """Sudoku puzzles with one solution.

    size: 4, 6 or 9.
    level: easy, medium or hard: what the options say that are not given.
    blanks: (fewest, most) empty cells, each count equally likely, or one number.
    max_guesses: the most guesses the solver may take; with 0 the puzzle yields to cells that
        have one candidate left, as every 4x4 puzzle with one solution does anyway.
    verbosity: how much of the reasoning is written down, from -1 (perception is about half of the
        words) to 3 (it is a few percent of them); docs/tasks.md has the shares.
        At -1 the answer is the filled cells alone, but in the paper's form.
    style: the words of the reasoning, terse, plain or thinking, or mixed for any of these.
    form: how grids are written: words, or paper for the paper's JSON and question.
    free_order: visit the cells, and list what each is compared with, in any order. Then no model
        can know the next word for sure, as in a chain of thought that people or models wrote.
    pixels: width and height of the picture.
    rotation, cell_jitter: a digit is turned by up to so many degrees, below 90, and moved by so
        many pixels.
    grid_shift: so is the grid. noise: standard deviation of Gaussian pixel noise, as a share of
        white. fonts: of the digits.
    """

    name = "sudoku"
    grammar = "grid"

    def __init__(
        self,
        size: int = 4,
        level: str = "medium",
        blanks: tuple[int, int] | int | None = None,
        max_guesses: int | None = None,
        verbosity: int = 1,
        style: str = "terse",
        form: str = "words",
        free_order: bool = False,
        pixels: int | None = None,
        rotation: int | None = None,
        noise: float | None = None,
        cell_jitter: int | None = None,
        grid_shift: int | None = None,
        fonts: tuple[str, ...] = FONTS,
    ) -> None:
        self.size, self.free_order = one_of("size", size, SIZES), free_order
        usual = HARDNESS[size][LEVELS.index(one_of("level", level, LEVELS))]
        self.verbosity = one_of("verbosity", verbosity, VERBOSITIES)
        self.style = Styles(style, STYLES)
        self.form = one_of("form", form, FORMS)
        self.max_guesses = usual.max_guesses if max_guesses is None else max_guesses
        if self.max_guesses < 0:
            raise ValueError(f"max_guesses must be 0 or more, got {max_guesses!r}")
        self.blanks = _range(usual.blanks if blanks is None else blanks, size)
        pixels = PIXELS[size] if pixels is None else pixels
        shift = usual.shift * pixels // 64 if grid_shift is None else grid_shift
        jitter = usual.jitter * max(1, pixels // size // 15) if cell_jitter is None else cell_jitter
        self.look = Look(
            pixels,
            usual.rotation if rotation is None else rotation,
            usual.noise if noise is None else noise,
            jitter,
            shift,
            tuple(fonts),
        )
        self.look.cell_size(size)

    def stream(self, split: str, seed: int, index: int) -> str:
        """The same puzzle for every look, style and verbosity."""
        return f"{self.size} {split} {seed} {index}"

    def problem(self, split: str, rng: random.Random) -> Puzzle:
        blanks = rng.randint(*self.blanks)
        for _ in range(TRIES):
            solution = random_solution(self.size, split, rng)
            clues = dig(solution, blanks, geometry(self.size), rng, self.max_guesses == 0)
            guesses = guesses_needed(clues, self.size, self.max_guesses) if clues else None
            if clues and guesses is not None:
                return Puzzle(clues, solution, guesses)
        raise RuntimeError(f"no puzzle with {blanks} blanks in {TRIES} solution grids")

    def draw(self, problem: Puzzle, rng: random.Random) -> Image:
        return render(problem.clues, self.size, self.look, rng)

    def query(self, problem: Puzzle) -> str:
        return PAPER_QUERY.format(n=self.size) if self.form == "paper" else QUERY

    def write(self, problem: Puzzle) -> str:
        return self._written(problem.clues)

    def solve(self, problem: Puzzle, rng: random.Random) -> tuple[str, str]:
        style, order = self.style.choose(rng), rng if self.free_order else None
        text, _ = reasoning_text(problem.clues, self.size, self.verbosity, order, style)
        if self.verbosity < 0 and self.form == "words":
            return text, filled_text(problem.solution, problem.clues, self.size)
        return text, self._written(problem.solution)

    def facts(self, problem: Puzzle) -> dict[str, Any]:
        return {
            "size": self.size,
            "clues": by_row(problem.clues),
            "solution": by_row(problem.solution),
            "blanks": problem.clues.count(0),
            "guesses": problem.guesses,
        }

    def difficulty(self, truth: dict[str, Any]) -> dict[str, float | int | str]:
        return {"blanks": truth["blanks"], "guesses": truth["guesses"]}

    def ground_truth(self, truth: dict[str, Any]) -> str:
        """The rows, 0 for an empty cell."""
        return json.dumps(truth["clues"])

    def problem_in(self, truth: dict[str, Any]) -> Grid:
        return _flat(truth["clues"])

    def perceived(self, text: str, truth: dict[str, Any]) -> Grid | Refusal:
        return _read(text, truth["size"])

    def said(self, text: str, truth: dict[str, Any]) -> Grid | Filled | Refusal:
        return read_answer(text, truth["size"], _read)

    def right(self, said: Grid | Filled | Refusal, seen: Grid, truth: dict[str, Any]) -> bool:
        return solves(said, seen)

    def share(self, seen: Grid, true: Grid) -> float:
        return share_right(seen, true)

    def tables(self, seen: Any, said: Any, truth: dict[str, Any]) -> dict[str, Table]:
        """The perceived grid against the clues, the answer against the solution; where it is the
        filled cells alone, the true clues beside them."""
        clues = self.problem_in(truth)
        grid = completed(said, clues)
        solution = grid if solves(said, clues) else _flat(truth["solution"])
        sides = (("perceived", seen, clues), ("answer", grid, solution))
        return {
            name: grid_table(grid, right) for name, grid, right in sides if isinstance(grid, list)
        }

    def parts(self, seen: Grid) -> dict[str, str]:
        return clue_parts(seen)

    def places(self, instance: Instance) -> dict[str, Place]:
        """Every cell's square."""
        cell, whole = self.look.cell_size(self.size), self.look.pixels
        left, top = corner(self.size, self.look, self.look_of(instance.truth))
        found: dict[str, Place] = {}
        for index, name in enumerate(cell_names(self.size)):
            row, column = divmod(index, self.size)
            x, y = (left + column * cell) / whole, (top + row * cell) / whole
            far_x, far_y = x + cell / whole, y + cell / whole
            found[name] = (x, y), (far_x, y), (far_x, far_y), (x, far_y)
        return found

    def wrong_in_answer(self, said: Any, truth: dict[str, Any]) -> list[WrongPart]:
        """Every cell that is not as in the solution; none where it is another solution."""
        clues = self.problem_in(truth)
        if solves(said, clues):
            return []
        return wrong_cells(completed(said, clues), _flat(truth["solution"]))

    def answer_places(self, instance: Instance) -> dict[str, Place]:
        return self.places(instance)

    def words(self) -> list[str]:
        digits = [str(digit) for digit in range(1, self.size + 1)]
        cells = [word for words in cell_words(self.size) for word in words]
        query = PAPER_QUERY.format(n=self.size) if self.form == "paper" else QUERY
        found = [*KEYWORDS, *digits, *cell_names(self.size), *cells, *query.split()]
        found += self.style.words(lambda phrases: reasoning_words(self.size, phrases))
        return found + (list_words([*digits, '"-"']) if self.form == "paper" else [])

    def describe(self) -> str:
        look = self.look
        written = "" if self.style.name == "terse" else f", {self.style.name} style"
        written += "" if self.form == "words" else f", {self.form} form"
        return (
            f"{self.name} {self.size}x{self.size}, {self.blanks[0]} to {self.blanks[1]} blanks, "
            f"at most {self.max_guesses} guesses, "
            f"verbosity {self.verbosity}, {'free' if self.free_order else 'reading'} order, "
            f"{look.pixels} px, rotation {look.rotation} degrees, "
            f"noise {look.noise}, cell jitter {look.cell_jitter} px, "
            f"grid shift {look.grid_shift} px, fonts {' '.join(look.fonts)}{written}"
        )

    def _written(self, grid: Grid) -> str:
        if self.form == "words":
            return grid_text(grid, self.size)
        return json.dumps([[digit or "-" for digit in row] for row in by_row(grid)])


def _flat(rows: Sequence[Sequence[int]]) -> Grid:
    return [digit for row in rows for digit in row]


def _range(blanks: Any, size: int) -> tuple[int, int]:
    pair = as_pair(blanks)
    most = MOST_BLANKS[size]
    if len(pair) != 2 or not 1 <= pair[0] <= pair[1] <= most:
        raise ValueError(
            f"blanks must be (fewest, most) with 1 <= fewest <= most <= {most} for size {size},"
            f" got {blanks!r}"
        )
    return pair


def _read(text: str, size: int) -> Grid | Refusal:
    """The grid by the task's own grammar, else as a model writes it that was not told this one."""
    strict = read_words(text, size)
    if isinstance(strict, list):
        return strict
    lenient = read_grid(text, size)
    return lenient if isinstance(lenient, list) else Refusal("grid", strict)
