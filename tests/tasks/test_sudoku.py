"""Facts about Sudoku: puzzles, splits, reasoning that holds, scoring, pictures.

The rules of Sudoku are written down here a second time, so that the solver is not its own judge.
"""

import json
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from percbal.tasks import get_task
from percbal.tasks.sudoku_grid import geometry, is_solution, solutions_4x4, solve, split_of
from percbal.tasks.sudoku_image import FONTS
from percbal.tasks.sudoku_text import grid_text, parse_grid, reasoning_text

BOX = {4: 2, 9: 3}
CLEAR = dict(rotation=0, noise=0.0, cell_jitter=0, grid_shift=0, fonts=FONTS[:1])
# the default, every number of blanks, 9x9, and 9x9 that takes guessing
VARIANTS = [
    dict(size=4),
    dict(size=4, blanks=(1, 12)),
    dict(size=9),
    dict(size=9, blanks=(48, 50), max_guesses=6),
]


def same_house(a, b, size):
    (row_a, column_a), (row_b, column_b) = divmod(a, size), divmod(b, size)
    box = BOX[size]
    same_box = (row_a // box, column_a // box) == (row_b // box, column_b // box)
    return a != b and (row_a == row_b or column_a == column_b or same_box)


PEERS = {
    size: [[b for b in range(size**2) if same_house(a, b, size)] for a in range(size**2)]
    for size in BOX
}


def fitting(grid, cell, size):
    return sorted(set(range(1, size + 1)) - {grid[peer] for peer in PEERS[size][cell]})


def count_solutions(grid, size, limit):
    blanks = [cell for cell in range(size**2) if not grid[cell]]
    if not blanks:
        return 1
    cell = min(blanks, key=lambda blank: len(fitting(grid, blank, size)))
    count = 0
    for digit in fitting(grid, cell, size):
        count += count_solutions([*grid[:cell], digit, *grid[cell + 1 :]], size, limit - count)
        if count >= limit:
            break
    return count


def flat(rows):
    return [digit for row in rows for digit in row]


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
        cell, digit = self.assignment(next(self.words))
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


def test_there_are_288_grids_and_48_are_held_out():
    splits = solutions_4x4()
    assert len(splits["test"]) == 48 and len(splits["train"]) == 240
    grids = {tuple(grid) for split in splits.values() for grid in split}
    assert len(grids) == 288 == count_solutions([0] * 16, 4, limit=1000)
    for grid in grids:
        assert all(fitting(grid, cell, 4) == [grid[cell]] for cell in range(16))


@pytest.mark.parametrize("options", VARIANTS)
def test_puzzles_have_one_solution_and_the_blanks_asked_for(options):
    task = get_task("sudoku", **options)
    size = task.size
    for index in range(40 if size == 4 else 8):
        truth = task.generate(index, "train", seed=1).truth
        clues, solution = flat(truth["clues"]), flat(truth["solution"])
        assert count_solutions(clues, size, limit=2) == 1
        assert all(clue in (0, digit) for clue, digit in zip(clues, solution, strict=True))
        assert all(fitting(solution, cell, size) == [solution[cell]] for cell in range(size**2))
        assert task.blanks[0] <= clues.count(0) == truth["blanks"] <= task.blanks[1]
        assert truth["guesses"] <= task.max_guesses


@pytest.mark.parametrize("options", VARIANTS[:3])
def test_an_instance_depends_on_nothing_but_seed_split_and_index(options):
    first = get_task("sudoku", **options)
    forward = [first.generate(index, "train", seed=7) for index in range(6)]
    again = get_task("sudoku", **options)
    again.generate(3, "test", seed=0)
    for index in reversed(range(6)):
        instance = again.generate(index, "train", seed=7)
        assert instance.image.tobytes() == forward[index].image.tobytes()
        assert (instance.response, instance.truth) == (
            forward[index].response,
            forward[index].truth,
        )
    others = [again.generate(0, "train", seed=8), again.generate(0, "test", seed=7), forward[1]]
    assert all(other.perception != forward[0].perception for other in others)


def test_a_seed_gives_the_same_puzzle_on_every_machine_and_whatever_the_look():
    expected = (
        "r1c1=_ r1c2=1 r1c3=3 r1c4=2 r2c1=3 r2c2=_ r2c3=_ r2c4=_ "
        "r3c1=_ r3c2=_ r3c3=2 r3c4=_ r4c1=2 r4c2=3 r4c3=_ r4c4=1"
    )
    for options in ({}, {"verbosity": 3}, {"noise": 0.0, "rotation": 0}):
        assert get_task("sudoku", **options).generate(0, "train", seed=0).perception == expected


@pytest.mark.parametrize("size, n", [(4, 600), (9, 40)])
def test_train_and_test_share_no_solution_grid_whatever_the_seed(size, n):
    task = get_task("sudoku", size=size)
    solutions = {
        split: {str(task.generate(i, split, seed).truth["solution"]) for i in range(n)}
        for split, seed in (("train", 0), ("test", 1))
    }
    assert not solutions["train"] & solutions["test"]
    if size == 9:  # chance alone keeps so few of so many apart, so look at the rule
        for split, texts in solutions.items():
            assert {split_of(flat(json.loads(text)), 9) for text in texts} == {split}
    if size == 4:
        assert (len(solutions["train"]), len(solutions["test"])) == (pytest.approx(240, abs=40), 48)


@pytest.mark.parametrize("verbosity", [0, 1, 2, 3])
@pytest.mark.parametrize("options", VARIANTS)
def test_reasoning_replays_to_the_solution_without_a_false_step(options, verbosity):
    task = get_task("sudoku", verbosity=verbosity, **options)
    for index in range(25 if task.size == 4 else 4):
        instance = task.generate(index, "train", seed=2)
        clues, solution = flat(instance.truth["clues"]), flat(instance.truth["solution"])
        assert replay(clues, task.size, instance.reasoning)[0] == solution


@pytest.mark.parametrize("verbosity", [0, 1, 2, 3])
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


@pytest.mark.parametrize("verbosity", [0, 1, 2, 3])
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


@pytest.mark.parametrize("verbosity", [0, 1, 2, 3])
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


# documented in docs/sudoku.md
SHARES = [
    (4, 0, 0.340),
    (4, 1, 0.110),
    (4, 2, 0.062),
    (4, 3, 0.025),
    (9, 0, 0.388),
    (9, 1, 0.091),
    (9, 2, 0.030),
    (9, 3, 0.0093),
]


@pytest.mark.parametrize("size, verbosity, share", SHARES)
def test_share_of_perception_words_is_as_documented(size, verbosity, share):
    task = get_task("sudoku", size=size, verbosity=verbosity)
    words = np.zeros(2)
    for index in range(200 if size == 4 else 60):
        parts = task.generate(index, "train", seed=3).segments
        words += [len(part["text"].split()) for part in parts]
    assert words[0] / words.sum() == pytest.approx(share, rel=0.05)


TRUTH = {"size": 4, "clues": [[1, 2, 3, 4], [3, 4, 1, 2], [0, 1, 4, 0], [4, 0, 2, 0]]}
RIGHT = [1, 2, 3, 4, 3, 4, 1, 2, 2, 1, 4, 3, 4, 3, 2, 1]


def respond(perceived, answered):
    perceived, answered = (
        text if isinstance(text, str) else grid_text(text, 4) for text in (perceived, answered)
    )
    return (
        f"<perception> {perceived} </perception> <reasoning> skip </reasoning> "
        f"<answer> {answered} </answer>"
    )


def judge(perceived, answered):
    score = get_task("sudoku").score(respond(perceived, answered), TRUTH)
    return score.answer, score.perception, score.perception_f1, score.reasoning, score.parsed


def test_scores_tell_seeing_from_thinking():
    clues = flat(TRUTH["clues"])
    assert judge(clues, RIGHT) == (True, True, 1, True, True)
    # one clue missed, still the right answer: seeing fails, the rest stands
    missed = [0, *clues[1:]]
    assert judge(missed, RIGHT) == (True, False, 15 / 16, True, True)
    # digits 1 and 2 mixed up throughout: reasons well from what it saw, and is wrong
    swap = {1: 2, 2: 1}
    swapped = [swap.get(digit, digit) for digit in clues]
    answer = [swap.get(digit, digit) for digit in RIGHT]
    assert judge(swapped, answer) == (False, False, 10 / 16, True, True)
    # an answer with a repeated digit, with a blank, and one that changes a clue
    for wrong in ([*RIGHT[:-1], 2], [*RIGHT[:-1], 0], RIGHT[4:8] + RIGHT[:4] + RIGHT[8:]):
        assert judge(clues, wrong) == (False, True, 1, False, True)


def test_any_completion_of_the_clues_is_a_right_answer():
    clues = [*RIGHT[:4], *[0] * 12]
    truth = {"size": 4, "clues": [clues[start : start + 4] for start in range(0, 16, 4)]}
    answers = solve(clues, geometry(4), limit=100)
    assert len(answers) == 12
    for answer in answers:
        assert get_task("sudoku").score(respond(clues, answer), truth).answer


def test_a_lost_span_leaves_the_others_scored():
    clues, task = flat(TRUTH["clues"]), get_task("sudoku")
    whole = respond(clues, RIGHT)
    unseen = task.score(whole.replace("</perception>", ""), TRUTH)
    assert (unseen.answer, unseen.perception, unseen.reasoning) == (True, None, None)
    assert unseen.reason == "</perception> occurs 0 times, not once" and not unseen.parsed
    unanswered = task.score(whole[: whole.index("</answer>")], TRUTH)
    assert (unanswered.answer, unanswered.perception, unanswered.reasoning) == (None, True, None)


CELLS = grid_text(RIGHT, 4).split()


@pytest.mark.parametrize(
    "words, problem",
    [
        ([], "has 16 cells, this has 0"),
        (CELLS[:-1], "has 16 cells, this has 15"),
        ([*CELLS, "r4c4=1"], "this has more than 16"),
        ([CELLS[0], *CELLS[:-1]], "'r1c1=1' stands where r1c2="),
        ([CELLS[1], CELLS[0], *CELLS[2:]], "'r1c2=2' stands where r1c1="),
        (["r1c1=5", *CELLS[1:]], "'r1c1=5' stands"),
        (["r1c1=0", *CELLS[1:]], "'r1c1=0' stands"),
        (["r1c1=-1", *CELLS[1:]], "stands"),
        (["r1c1=١", *CELLS[1:]], "stands"),  # an Arabic one, which int() would take
        (["R1C1=1", *CELLS[1:]], "stands"),
        (["r1c1=1,", *CELLS[1:]], "stands"),
        (["r1c1==1", *CELLS[1:]], "stands"),
        (["r01c1=1", *CELLS[1:]], "stands"),
        (["x" * 10**6, *CELLS[1:]], "'xxxxxxxxxxxxxxxxxxxx' stands"),
    ],
)
def test_malformed_grids_are_refused_with_a_reason(words, problem):
    found = parse_grid(" ".join(words), 4)
    assert isinstance(found, str) and problem in found and len(found) < 100
    answer, perception, share, reasoning, parsed = judge(" ".join(words), RIGHT)
    assert (answer, perception, share, reasoning, parsed) == (True, False, 0, None, False)
    assert judge(flat(TRUTH["clues"]), " ".join(words)) == (False, True, 1, False, False)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([4, 9]).flatmap(
        lambda size: st.lists(st.integers(0, size), min_size=size**2, max_size=size**2)
    )
)
def test_grid_text_reads_back(grid):
    size = {16: 4, 81: 9}[len(grid)]
    assert parse_grid(grid_text(grid, size), size) == grid
    assert parse_grid("\n\t ".join(grid_text(grid, size).split()) + "\n", size) == grid


def cells_of(image, task):
    """(size * size, side, side) pixels inside the lines of a picture without shift."""
    size, side = task.size, task.look.cell_size(task.size)
    margin = (task.look.image_size - side * size) // 2
    pixels = np.asarray(image)[margin:, margin:]
    corners = [(row * side + 1, column * side + 1) for row in range(size) for column in range(size)]
    return np.stack([pixels[y : y + side - 1, x : x + side - 1] for y, x in corners])


@pytest.mark.parametrize("size", [4, 9])
@pytest.mark.parametrize("font", FONTS)
def test_a_picture_shows_the_clues(size, font):
    task = get_task("sudoku", size=size, **CLEAR | dict(fonts=(font,)))
    templates = {}
    for index in range(4):
        instance = task.generate(index, "train", seed=0)
        assert instance.image.size == (task.look.image_size,) * 2 and instance.image.mode == "L"
        cells = cells_of(instance.image, task)
        for digit, cell in zip(flat(instance.truth["clues"]), cells, strict=True):
            assert np.array_equal(cell, templates.setdefault(digit, cell))
    assert len(templates) == size + 1 and templates[0].min() == 255
    unlike = [
        np.abs(templates[a].astype(int) - templates[b]).sum() / 255
        for a in templates
        for b in range(a)
    ]
    assert min(unlike) > 5  # whole pixels of ink between any two


def test_pictures_differ_exactly_where_clues_do():
    task = get_task("sudoku", **CLEAR)
    seen = {}
    for index in range(300):
        instance = task.generate(index, "train", seed=0)
        pixels = instance.image.tobytes()
        assert seen.setdefault(instance.perception, pixels) == pixels
    assert len(set(seen.values())) == len(seen) > 200


@pytest.mark.parametrize(
    "harder",
    [
        dict(rotation=14),
        dict(noise=0.05),
        dict(cell_jitter=1),
        dict(grid_shift=2),
        dict(fonts=FONTS),
    ],
)
def test_each_difficulty_changes_the_picture_and_not_the_puzzle(harder):
    plain = get_task("sudoku", **CLEAR)
    hard = get_task("sudoku", **CLEAR | harder)
    pairs = [(plain.generate(i, "train", 0), hard.generate(i, "train", 0)) for i in range(5)]
    assert all(a.response == b.response for a, b in pairs)
    assert any(a.image.tobytes() != b.image.tobytes() for a, b in pairs)


def test_noise_has_the_strength_asked_for():
    options = CLEAR | dict(noise=0.02)
    image = np.asarray(get_task("sudoku", **options).generate(0, "train", 0).image, dtype=float)
    clean = np.asarray(get_task("sudoku", **CLEAR).generate(0, "train", 0).image, dtype=float)
    grey = (clean > 100) & (clean < 200)  # where nothing is clipped
    assert (image - clean)[grey].std() / 255 == pytest.approx(0.02, rel=0.15)


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(size=6), "size must be 4 or 9, got 6"),
        (dict(verbosity=4), "verbosity must be 0, 1, 2 or 3, got 4"),
        (dict(blanks=(0, 3)), r"1 <= fewest <= most <= 12 for size 4, got \(0, 3\)"),
        (dict(blanks=(9, 6)), r"got \(9, 6\)"),
        (dict(blanks=(6, 13)), r"got \(6, 13\)"),
        (dict(blanks=(6,)), r"got \(6,\)"),
        (dict(max_guesses=-1), "max_guesses must be 0 or more, got -1"),
        (dict(image_size=30), "image_size 30 leaves 6 pixels per cell; .* it takes 12"),
        (dict(noise=-0.1), "noise must be 0 or more, got -0.1"),
        (dict(fonts=()), "at least one of DejaVuSans"),
        (dict(fonts=("Comic Sans",)), "unknown font 'Comic Sans'; known fonts: DejaVuSans"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        get_task("sudoku", **options)


def test_a_bad_split_is_named():
    with pytest.raises(ValueError, match="split must be one of train, test, got 'dev'"):
        get_task("sudoku").generate(0, "dev", 0)
