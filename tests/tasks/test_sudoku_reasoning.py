"""Facts about Sudoku's chains of thought: every step holds, and they are as long as documented."""

import random

import numpy as np
import pytest
from sudoku_rules import PEERS, VARIANTS, fitting, flat

from percbal.tasks import get_task
from percbal.tasks.sudoku_grid import geometry, is_solution, solve
from percbal.tasks.sudoku_reasoning import reasoning_text


class Replay:
    """Reads a chain of thought word by word and fails at the first false or unfounded one."""

    def __init__(self, clues, size, text, free_order=False):
        self.free_order = free_order
        self.size, self.grid, self.words = size, list(clues), iter(text.split())
        self.names = [f"r{r}c{c}" for r in range(1, size + 1) for c in range(1, size + 1)]
        self.guesses, self.conflicts = [], 0
        self.refuted = {}  # cell: digits refuted just now
        self.left = None  # the cell last looked at and its digits

    def run(self):
        for word in self.words:
            if word in self.names:
                self.visit(self.names.index(word))
            elif "=" in word:  # the least verbosity sets a cell without a word for it
                self.put(word)
            else:
                getattr(self, word)()
        return self.grid

    def assignment(self, word):
        name, digit = word.split("=")
        return self.names.index(name), 0 if digit == "_" else int(digit)

    def expect_state(self, cells):
        read = [self.assignment(next(self.words)) for _ in cells]
        assert (sorted(read) if self.free_order else read) == [(c, self.grid[c]) for c in cells]

    def look(self, cell, word, digit=None):
        """One row, column or box, listed as it stands, and whether it holds the digit."""
        row, column = divmod(cell, self.size)
        in_row = [peer for peer in PEERS[self.size][cell] if peer // self.size == row]
        in_column = [peer for peer in PEERS[self.size][cell] if peer % self.size == column]
        rest = [peer for peer in PEERS[self.size][cell] if peer not in in_row + in_column]
        cells = {"row": in_row, "column": in_column, "box": rest}[word]
        self.expect_state(cells)
        if digit is not None:
            taken = digit in [self.grid[peer] for peer in cells]
            assert next(self.words) == ("taken" if taken else "clear")

    def visit(self, cell):
        assert self.grid[cell] == 0
        digit = None
        for word in self.words:
            if word == "left":
                break
            if word == "try":
                tried, digit = self.assignment(next(self.words))
                assert tried == cell
            else:
                self.look(cell, word, digit)
        fits = fitting(self.grid, cell, self.size)
        assert [next(self.words) for _ in fits or "0"] == [str(digit) for digit in fits or ["none"]]
        self.left = cell, fits

    def skip(self):
        assert len(self.left[1]) > 1

    def set(self):
        self.put(next(self.words))

    def put(self, word):
        cell, digit = self.assignment(word)
        fits = [
            d for d in fitting(self.grid, cell, self.size) if d not in self.refuted.get(cell, [])
        ]
        assert self.grid[cell] == 0 and fits == [digit]
        self.grid[cell] = digit
        self.refuted = {}

    def guess(self):
        cell, digit = self.assignment(next(self.words))
        fits = fitting(self.grid, cell, self.size)
        assert self.grid[cell] == 0 and digit in fits and len(fits) > 1
        refuted = self.refuted.get(cell, [])
        assert digit not in refuted
        self.guesses.append((cell, digit, list(self.grid), refuted))
        self.grid[cell] = digit
        self.refuted = {}

    def conflict(self):
        cell = self.names.index(next(self.words))
        assert self.grid[cell] == 0 and not fitting(self.grid, cell, self.size)
        self.conflicts += 1
        assert next(self.words) == "undo"
        guessed, digit, self.grid, refuted = self.guesses.pop()
        assert self.assignment(next(self.words)) == (guessed, digit)
        self.refuted = {guessed: [*refuted, digit]}

    def grid_words(self):
        self.expect_state(range(self.size**2))


# "grid" is a word of the text and the state of the reader
def replay(clues, size, text, free_order=False):
    reader = Replay(clues, size, text.replace("grid ", "grid_words "), free_order)
    return reader.run(), reader


@pytest.mark.parametrize("verbosity", [-1, 0, 1, 2, 3])
@pytest.mark.parametrize("options", VARIANTS)
def test_reasoning_replays_to_the_solution_without_a_false_step(options, verbosity):
    task = get_task("sudoku", verbosity=verbosity, **options)
    for index in range(25 if task.size == 4 else 4):
        instance = task.generate(index, "train", seed=2)
        clues, solution = flat(instance.truth["clues"]), flat(instance.truth["solution"])
        assert replay(clues, task.size, instance.reasoning)[0] == solution


@pytest.mark.parametrize("verbosity", [-1, 0, 1, 2, 3])
def test_reasoning_in_any_order_replays_too_and_is_seldom_the_same(verbosity):
    free, reading = (get_task("sudoku", verbosity=verbosity, free_order=f) for f in (True, False))
    different = 0
    for index in range(20):
        instance, ordered = (task.generate(index, "train", 3) for task in (free, reading))
        truth = instance.truth
        assert truth == ordered.truth and instance.perception == ordered.perception
        solved, _ = replay(flat(truth["clues"]), 4, instance.reasoning, free_order=True)
        assert solved == flat(truth["solution"])
        different += instance.reasoning != ordered.reasoning
        assert instance.reasoning == free.generate(index, "train", 3).reasoning
    assert different > 15


@pytest.mark.parametrize("verbosity", [-1, 0, 1, 2, 3])
def test_backtracking_replays_too(verbosity):
    rng = random.Random(0)
    conflicts = 0
    for _ in range(4):
        # 26 clues taken at random leave 9x9 grids that guessing alone can complete
        solution = solve([0] * 81, geometry(9), rng=rng)[0]
        clues = [digit if rng.random() < 26 / 81 else 0 for digit in solution]
        text, guesses = reasoning_text(clues, 9, verbosity)
        grid, reader = replay(clues, 9, text)
        assert is_solution(grid, clues, geometry(9)) and text.split().count("guess") == guesses
        conflicts += reader.conflicts
    assert conflicts > 0


def test_three_digits_of_a_guess_are_refuted_one_by_one():
    puzzle = "1.......2.9.4...5...6...7...5.9.3.......7.......85..4.7.....6...3...9.8...2.....1"
    clues = [int(digit) for digit in puzzle.replace(".", "0")]
    text, _ = reasoning_text(clues, 9, verbosity=0)
    words = text.split()
    again = [  # a guess at the cell whose last guess has just been undone
        words[i : i + 4]
        for i in range(len(words) - 3)
        if words[i] == "undo" and words[i + 2] == "guess" and words[i + 1][:4] == words[i + 3][:4]
    ]
    assert again  # the case is there
    assert is_solution(replay(clues, 9, text)[0], clues, geometry(9))


@pytest.mark.parametrize("verbosity", [-1, 0, 1, 2, 3])
def test_the_replay_notices_every_changed_value(verbosity):
    instance = get_task("sudoku", verbosity=verbosity).generate(0, "train", seed=0)
    words, clues = instance.reasoning.split(), flat(instance.truth["clues"])
    for position, word in enumerate(words):
        if "=" in word and words[position - 1] != "try":
            other = "2" if word.endswith("=1") else "1"
            changed = [*words[:position], word[:-1] + other, *words[position + 1 :]]
            with pytest.raises(AssertionError):
                replay(clues, 4, " ".join(changed))


def test_a_grid_without_solution_has_no_reasoning():
    clues = [1, 2, 3, 0, 0, 0, 0, 4] + [0] * 8
    with pytest.raises(ValueError, match="no solution: nothing fits r1c4"):
        reasoning_text(clues, 4, 1)


# perception's share of the words; docs/tasks.md has those of other instances
SHARES = [
    (4, -1, 0.487),
    (4, 0, 0.340),
    (4, 1, 0.110),
    (4, 2, 0.062),
    (4, 3, 0.025),
    (9, -1, 0.624),
    (9, 0, 0.388),
    (9, 1, 0.091),
    (9, 2, 0.030),
    (9, 3, 0.0093),
]


@pytest.mark.parametrize("size, verbosity, share", SHARES)
def test_share_of_perception_words_is_as_documented(size, verbosity, share):
    task = get_task("sudoku", size=size, verbosity=verbosity)
    words = np.zeros(3)
    for index in range(200 if size == 4 else 60):
        parts = task.generate(index, "train", seed=3).segments
        words += [len(part["text"].split()) for part in parts]
    assert words[0] / words.sum() == pytest.approx(share, rel=0.05)
