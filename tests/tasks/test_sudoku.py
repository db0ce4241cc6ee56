"""Facts about Sudoku's puzzles: one solution, splits that share none, options that are checked."""

import json
import random

import pytest
from sudoku_rules import VARIANTS, count_solutions, fitting, flat

from percbal.tasks import get_task
from percbal.tasks.splits import in_split
from percbal.tasks.sudoku_grid import geometry, is_solution
from percbal.tasks.sudoku_splits import random_solution, solutions_4x4, switched, symmetry_key


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


@pytest.mark.parametrize("options", VARIANTS[:4])
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
            keys = {symmetry_key(flat(json.loads(text)), 9) for text in texts}
            assert all(in_split(key, split) for key in keys)
    if size == 4:
        assert (len(solutions["train"]), len(solutions["test"])) == (pytest.approx(240, abs=40), 48)


@pytest.mark.parametrize("size, kinds", [(6, 2), (9, 100)])
def test_a_switched_grid_is_a_solution_and_mostly_of_another_kind(size, kinds):
    rng = random.Random(0)
    grid = random_solution(size, "train", rng)
    keys = set()
    for _ in range(200):
        grid = switched(grid, size, rng)
        assert is_solution(grid, [0] * size**2, geometry(size))
        keys.add(symmetry_key(grid, size))
    assert len(keys) >= kinds


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(size=5), "size must be one of 4, 6, 9, got 5"),
        (dict(verbosity=4), "verbosity must be one of -1, 0, 1, 2, 3, got 4"),
        (dict(blanks=(0, 3)), r"1 <= fewest <= most <= 12 for size 4, got \(0, 3\)"),
        (dict(blanks=(9, 6)), r"got \(9, 6\)"),
        (dict(blanks=(6, 13)), r"got \(6, 13\)"),
        (dict(blanks=(6,)), r"blanks of sudoku must be 2 numbers or a whole number, got \(6,\)"),
        (dict(max_guesses=-1), "max_guesses must be 0 or more, got -1"),
        (dict(pixels=30), "pixels 30 leaves 7 pixels per cell; .* it takes 12"),
        (dict(noise=-0.1), "noise must be 0 or more, got -0.1"),
        (dict(fonts=()), "at least one of DejaVuSans"),
        (dict(fonts=("Comic Sans",)), "unknown font 'Comic Sans'; known fonts: DejaVuSans"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        get_task("sudoku", **options)


def test_a_bad_split_is_named():
    with pytest.raises(
        ValueError, match="the split of a task is one of train, test, .*, got 'dev'"
    ):
        get_task("sudoku").generate(0, "dev", 0)
