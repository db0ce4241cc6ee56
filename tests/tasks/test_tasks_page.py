"""Facts that docs/tasks.md states: shares of perception, splits, options."""

import random
import re
from pathlib import Path

import pytest

from percbal.tasks import get_task
from percbal.tasks.picture_task import LEVELS
from percbal.tasks.splits import PARTS, SPLITS
from percbal.tasks.sudoku_splits import solutions_4x4

PAGE = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text()
SHARES = [
    (name, int(size) if size else None, style, verbosity, float(share), int(words))
    for name, size, style, cells in re.findall(
        r"^\| `(\w+)`(?: (\d)x\d)? \| (terse|plain|thinking) \| (.*) \|$", PAGE, re.MULTILINE
    )
    for verbosity, (share, words) in enumerate(re.findall(r"([\d.]+)% of (\d+)", cells))
]


@pytest.mark.parametrize("name, size, style, verbosity, share, words", SHARES)
def test_shares_of_perception_are_as_documented(name, size, style, verbosity, share, words):
    options = {"size": size} if size else {}
    task = get_task(name, style=style, verbosity=verbosity, **options)
    seen = total = 0
    n = 12 if size == 9 else 60
    for i in range(n):
        problem = task.problem("train", random.Random(i))
        reasoning, answer = task.solve(problem, random.Random(i))
        own = len(task.write(problem).split()) + 2  # and its tags
        seen, total = seen + own, total + own + len(f"{reasoning} {answer}".split()) + 4
    assert 100 * seen / total == pytest.approx(share, rel=0.15)
    assert total / n == pytest.approx(words, rel=0.15)


def test_the_page_has_a_row_for_each_task_and_style():
    assert len(SHARES) == 4 * 12


def test_splits_are_as_large_as_documented():
    assert [len(SPLITS[s]) for s in ("train_sft", "train_rl", "test")] == [5, 20, 5] and PARTS == 30
    grids = solutions_4x4()
    assert [len(grids[s]) for s in ("test", "train_sft", "train_rl")] == [48, 48, 192]


@pytest.mark.parametrize("level", LEVELS)
def test_levels_are_as_documented(level):
    """The numbers of the page's table, in the order in which they stand there."""
    column = LEVELS.index(level) + 2
    table = {
        line.split("|")[1].strip(): re.findall(r"[\d.]+", line.split("|")[column])
        for line in PAGE.split("## Levels")[1].split("\n\n")[1].splitlines()
    }
    for size in (4, 6, 9):
        task = get_task("sudoku", size=size, level=level)
        row = next(cells for title, cells in table.items() if f"{size}x{size}" in title)
        blanks = [*dict.fromkeys(map(str, task.blanks))]
        assert row[: len(blanks)] == blanks and f"{task.look.noise:g}" in row
    graph = get_task("coloring", level=level)
    row = next(cells for title, cells in table.items() if "coloring" in title)
    assert row == [f"{x:g}" for x in (*graph.vertices, *graph.density)]
    chart = get_task("chart", level=level)
    row = next(cells for title, cells in table.items() if "chart" in title)
    expected = (*chart.rows, chart.step, chart.look.ticks, chart.look.noise)
    assert row == [f"{x:g}" for x in expected]
