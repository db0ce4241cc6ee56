"""Facts that docs/tasks.md states: shares of perception, splits, options."""

import csv
import importlib
import random
import re
from itertools import combinations
from pathlib import Path

import pytest

from percbal.tasks import get_task
from percbal.tasks.coloring_graph import f1
from percbal.tasks.picture_task import LEVELS
from percbal.tasks.splits import PARTS, SPLITS
from percbal.tasks.sudoku_splits import solutions_4x4

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "tasks.md").read_text()
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
    line = next(line for line in PAGE.splitlines() if line.startswith("| `coloring`: "))
    assert graph.look.layout in line.split("|")[column]
    chart = get_task("chart", level=level)
    row = next(cells for title, cells in table.items() if "chart" in title)
    expected = (*chart.rows, chart.step, chart.look.ticks, chart.look.noise)
    assert row == [f"{x:g}" for x in expected]


def test_the_rates_of_errors_are_those_of_the_csv():
    found = re.findall(
        r"^\|(?: `(\w+)`(?: 4x4)?)? \| (easy|medium|hard) ((?:\| [\d.]+ \[.*?\] ){4})\|$",
        PAGE,
        re.MULTILINE,
    )
    with open(ROOT / "benchmarks" / "results" / "task_difficulty.csv", newline="") as file:
        rows = {(row["task"], row["level"]): row for row in csv.DictReader(file)}
    task, shown = "", {}
    for name, level, cells in found:
        task = name or task
        shown[task, level] = [float(number) for number in re.findall(r"[\d.]+", cells)]
    assert shown.keys() == rows.keys()
    names = [
        n for m in ("a", "a_p", "parts", "a_r") for n in (f"wrong {m}", f"{m} from", f"{m} to")
    ]
    for key, row in rows.items():
        assert shown[key] == pytest.approx([100 * float(row[n]) for n in names], abs=0.051)


def test_a_row_of_one_task_leaves_those_of_the_others(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    difficulty = importlib.import_module("task_difficulty")
    path = tmp_path / "rows.csv"
    for task, level in (("chart", "easy"), ("coloring", "hard"), ("chart", "easy")):
        difficulty.keep(path, {"task": task, "level": level, "steps": len(path.name)})
        path = path.rename(tmp_path / f"_{path.name}")
    with open(path, newline="") as file:
        rows = [(row["task"], row["level"], row["steps"]) for row in csv.DictReader(file)]
    assert rows == [("coloring", "hard", "9"), ("chart", "easy", "10")]


def test_whoever_names_every_pair_of_vertices_misses_as_many_edges_as_documented():
    told = re.search(r"every pair of vertices gets (\d+), (\d+) and (\d+) percent", PAGE)
    for level, percent in zip(LEVELS, told.groups(), strict=True):
        task, wrong = get_task("coloring", level=level), 0.0
        for i in range(256):
            n, edges = task.problem("test", random.Random(i))
            wrong += 1 - f1(frozenset(combinations(range(n), 2)), edges)
        assert 100 * wrong / 256 == pytest.approx(float(percent), abs=1)
