"""Facts that docs/tasks.md states: shares of perception, splits, options."""

import csv
import importlib
import random
import re
from functools import cache
from itertools import combinations
from pathlib import Path

import pytest

from percbal.tasks import get_task
from percbal.tasks.coloring_graph import f1
from percbal.tasks.picture_task import LEVELS, VERBOSITIES
from percbal.tasks.splits import PARTS, SPLITS
from percbal.tasks.sudoku_splits import solutions_4x4

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "tasks.md").read_text()
SHARES = {
    (name, int(size) if size else None, style): re.findall(r"[\d.]+% of \d+", cells)
    for name, size, style, cells in re.findall(
        r"^\| `(\w+)`(?: (\d)x\d)? \| (terse|plain|thinking) \| (.*%.*) \|$", PAGE, re.MULTILINE
    )
}
INSTANCES = 150  # of train, seed 0: those of the page


@cache
def problems(name, size, level):
    """Each with its stream; they are the same for every style, form and verbosity."""
    task = get_task(name, level=level, **({"size": size} if size else {}))
    streams = [task.stream("train", 0, index) for index in range(INSTANCES)]
    return [(s, task.problem("train", random.Random(f"puzzle {s}"))) for s in streams]


def measured(name, size, level="medium", **options):
    """Perception's share of the words in percent, and the words of a response."""
    task = get_task(name, level=level, **options, **({"size": size} if size else {}))
    seen = total = 0
    for stream, problem in problems(name, size, level):
        reasoning, answer = task.solve(problem, random.Random(f"order {stream}"))
        own = len(task.write(problem).split()) + 2  # and its tags
        seen, total = seen + own, total + own + len(f"{reasoning} {answer}".split()) + 4
    return 100 * seen / total, total / INSTANCES


@pytest.mark.parametrize("name, size, style", SHARES)
def test_shares_of_perception_are_as_documented(name, size, style):
    row = [measured(name, size, style=style, verbosity=v) for v in VERBOSITIES]
    assert [f"{share:.1f}% of {words:.0f}" for share, words in row] == SHARES[name, size, style]


LEAST = {
    (name, int(size) if size else None): cells.split("% | ")
    for name, size, cells in re.findall(
        r"^\| `(\w+)`(?: (\d)x\d)? \| ([\d.]+%(?: \| [\d.]+%){3}) \|$", PAGE, re.MULTILINE
    )
}


@pytest.mark.parametrize("name, size", LEAST)
def test_shares_of_the_shortest_responses_are_as_documented(name, size):
    """Of each level, and in the paper's form."""
    options = [{"level": level} for level in LEVELS] + [{"form": "paper"}]
    shares = [measured(name, size, verbosity=-1, **each)[0] for each in options]
    assert [f"{share:.1f}" for share in shares] == [cell.rstrip("%") for cell in LEAST[name, size]]


def test_the_page_has_a_row_for_each_task_and_style():
    assert len(SHARES) == 15 and len(LEAST) == 5


def test_perception_has_half_of_the_shortest_responses_and_little_of_the_longest():
    for (name, _, style), row in SHARES.items():
        shares = [float(cell.partition("%")[0]) for cell in row]
        assert shares == sorted(shares, reverse=True)
        assert shares[0] > (40 if name == "coloring" and style != "terse" else 47)
        assert shares[-1] < 5


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
