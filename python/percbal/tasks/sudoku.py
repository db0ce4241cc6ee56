"""Sudoku, 4x4 or 9x9: read the clues off a picture, then complete the grid."""

from __future__ import annotations

import random
from typing import Any

from percbal.tasks.base import (
    SPLITS,
    TAG_WORDS,
    Instance,
    Score,
    Spans,
    Table,
    find_spans,
    tagged,
)
from percbal.tasks.read_grid import read_grid
from percbal.tasks.sudoku_grid import SIZES, Grid, dig, geometry, is_solution, random_solution
from percbal.tasks.sudoku_image import FONTS, Look, render
from percbal.tasks.sudoku_text import (
    KEYWORDS,
    VERBOSITIES,
    cell_names,
    cell_words,
    grid_text,
    parse_grid,
    reasoning_text,
    takes_at_most,
)

QUERY = "Read the Sudoku grid in the image, then solve it."
DEFAULT_BLANKS = {4: (6, 9), 9: (16, 30)}
DEFAULT_IMAGE_SIZE = {4: 64, 9: 144}
MOST_BLANKS = {4: 12, 9: 50}  # beyond, most solution grids have no such puzzle
TRIES = 1000  # solution grids to dig in before giving up on an instance


class Sudoku:
    """Sudoku puzzles with one solution, drawn with jitter and noise.

    size: 4 or 9.
    blanks: (fewest, most) empty cells, each count equally likely, or one number; 6 to 9, and 16 to
        30 for 9x9.
    max_guesses: the most guesses the solver may take; with 0 the puzzle yields to cells that
        have one candidate left, as every 4x4 puzzle with one solution does anyway.
    verbosity: 0 to 3, how much of the reasoning is written down (see ``reasoning_text``).
    free_order: visit the cells, and list what each is compared with, in any order. Then no model
        can know the next word for sure, as in a chain of thought that people or models wrote.
    image_size, rotation, noise, cell_jitter, grid_shift, fonts: see ``Look``.
    """

    name = "sudoku"

    def __init__(
        self,
        size: int = 4,
        blanks: tuple[int, int] | int | None = None,
        max_guesses: int = 0,
        verbosity: int = 1,
        free_order: bool = False,
        image_size: int | None = None,
        rotation: int = 14,
        noise: float = 0.08,
        cell_jitter: int = 1,
        grid_shift: int = 2,
        fonts: tuple[str, ...] = FONTS,
    ) -> None:
        if size not in SIZES:
            raise ValueError(f"size must be 4 or 9, got {size!r}")
        if verbosity not in VERBOSITIES:
            raise ValueError(f"verbosity must be 0, 1, 2 or 3, got {verbosity!r}")
        if max_guesses < 0:
            raise ValueError(f"max_guesses must be 0 or more, got {max_guesses!r}")
        self.size = size
        self.verbosity = verbosity
        self.free_order = free_order
        self.max_guesses = max_guesses
        if isinstance(blanks, int):
            blanks = (blanks, blanks)
        self.blanks = tuple(DEFAULT_BLANKS[size] if blanks is None else blanks)
        most = MOST_BLANKS[size]
        if len(self.blanks) != 2 or not 1 <= self.blanks[0] <= self.blanks[1] <= most:
            raise ValueError(
                f"blanks must be (fewest, most) with 1 <= fewest <= most <= {most} for size {size},"
                f" got {blanks!r}"
            )
        image_size = DEFAULT_IMAGE_SIZE[size] if image_size is None else image_size
        self.look = Look(image_size, rotation, noise, cell_jitter, grid_shift, tuple(fonts))
        self.look.cell_size(size)

    def generate(self, index: int, split: str, seed: int) -> Instance:
        """The instance at ``index``; the same puzzle for every look and verbosity."""
        if split not in SPLITS:
            raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
        stream = f"{self.size} {split} {seed} {index}"
        clues, solution = self._puzzle(split, random.Random(f"puzzle {stream}"))
        order = random.Random(f"order {stream}") if self.free_order else None
        reasoning, guesses = reasoning_text(clues, self.size, self.verbosity, order)
        return Instance(
            task=self.name,
            index=index,
            image=render(clues, self.size, self.look, random.Random(f"look {stream}")),
            query=QUERY,
            perception=grid_text(clues, self.size),
            reasoning=reasoning,
            answer=grid_text(solution, self.size),
            truth={
                "size": self.size,
                "clues": _by_row(clues, self.size),
                "solution": _by_row(solution, self.size),
                "blanks": clues.count(0),
                "guesses": guesses,
                "seed": seed,
                "split": split,
                "index": index,
            },
        )

    def _puzzle(self, split: str, rng: random.Random) -> tuple[Grid, Grid]:
        blanks = rng.randint(*self.blanks)
        for _ in range(TRIES):
            solution = random_solution(self.size, split, rng)
            clues = dig(solution, blanks, geometry(self.size), rng, self.max_guesses == 0)
            if clues and takes_at_most(self.max_guesses, clues, self.size):
                return clues, solution
        raise RuntimeError(f"no puzzle with {blanks} blanks in {TRIES} solution grids")

    def score(self, completion: str, truth: dict[str, Any]) -> Score:
        """Judge a completion; any grid that completes the true clues is a right answer."""
        size = truth["size"]
        clues = [digit for row in truth["clues"] for digit in row]
        spans = find_spans(completion)
        perceived = None if spans.perception is None else _grid(spans.perception, size)
        answered = None if spans.answer is None else _grid(spans.answer, size)
        return Score(
            answer=None if answered is None else _solves(answered, clues, size),
            perception=None if perceived is None else perceived == clues,
            perception_f1=_share_right(perceived, clues),
            reasoning=(
                _solves(answered, perceived, size)
                if isinstance(perceived, list) and answered is not None
                else None
            ),
            parsed=spans.complete and isinstance(perceived, list) and isinstance(answered, list),
            reason=_reason(spans, perceived, answered),
        )

    def marked(self, completion: str, truth: dict[str, Any]) -> dict[str, Table]:
        """The perceived grid against the clues, the answer against the solution."""
        spans, size = find_spans(completion), truth["size"]
        tables = {}
        for name, text, right in (
            ("perceived", spans.perception, truth["clues"]),
            ("answer", spans.answer, truth["solution"]),
        ):
            grid = _grid(text, size) if text is not None else "no such span"
            if isinstance(grid, list):
                tables[name] = [
                    [(str(d or ""), d == r) for d, r in zip(row, right_row, strict=True)]
                    for row, right_row in zip(_by_row(grid, size), right, strict=True)
                ]
        return tables

    def difficulty(self, truth: dict[str, Any]) -> dict[str, int]:
        """What makes an instance hard."""
        return {"blanks": truth["blanks"], "guesses": truth["guesses"]}

    def oracle_prefix(self, instance: Instance) -> str:
        """The right perception between its tags, for a model to reason on from."""
        return tagged("perception", instance.perception)

    def vocabulary(self) -> list[str]:
        """All words of queries and responses, without repeats, in a fixed order."""
        digits = [str(digit) for digit in range(1, self.size + 1)]
        cells = [word for words in cell_words(self.size) for word in words]
        words = [*TAG_WORDS, *KEYWORDS, *digits, *cell_names(self.size), *cells, *QUERY.split()]
        return list(dict.fromkeys(words))

    def describe(self) -> str:
        """One sentence with every option."""
        look = self.look
        return (
            f"{self.name} {self.size}x{self.size}, {self.blanks[0]} to {self.blanks[1]} blanks, "
            f"at most {self.max_guesses} guesses, "
            f"verbosity {self.verbosity}, {'free' if self.free_order else 'reading'} order, "
            f"{look.image_size} px, rotation {look.rotation} degrees, "
            f"noise {look.noise}, cell jitter {look.cell_jitter} px, "
            f"grid shift {look.grid_shift} px, fonts {' '.join(look.fonts)}"
        )


def _grid(text: str, size: int) -> Grid | str:
    """The grid by the task's own grammar, else as a model writes it that was not told this one."""
    strict = parse_grid(text, size)
    if isinstance(strict, list):
        return strict
    lenient = read_grid(text, size)
    return lenient if isinstance(lenient, list) else strict


def _by_row(grid: Grid, size: int) -> list[Grid]:
    return [grid[start : start + size] for start in range(0, len(grid), size)]


def _solves(answered: Grid | str, clues: Grid, size: int) -> bool:
    return isinstance(answered, list) and is_solution(answered, clues, geometry(size))


def _share_right(perceived: Grid | str | None, clues: Grid) -> float:
    if not isinstance(perceived, list):
        return 0.0
    return sum(ours == true for ours, true in zip(perceived, clues, strict=True)) / len(clues)


def _reason(spans: Spans, perceived: Grid | str | None, answered: Grid | str | None) -> str:
    problems = list(spans.problems)
    for name, grid in (("perception", perceived), ("answer", answered)):
        if isinstance(grid, str):
            problems.append(f"{name}: {grid}")
    return "; ".join(problems)
