"""What is paid for naming everything that could be there."""

from __future__ import annotations

from itertools import combinations

import pytest
from reward_fixtures import said

from percbal import rewards
from percbal.evaluate.paper_rewards import EitherTask
from percbal.tasks import get_task

EDGES = [[0, 1], [1, 2], [2, 3], [3, 4]]
GRAPH = {"v": 7, "c": 2, "edges": EDGES}


def written(edges):
    return " ".join(f"{a}-{b}" for a, b in edges)


@pytest.mark.parametrize("more, paid", [(0, True), (4, True), (5, False), (17, False)])
def test_more_than_twice_the_edges_earn_nothing(more, paid):
    others = [pair for pair in combinations(range(7), 2) if [*pair] not in EDGES]
    task, completion = get_task("coloring"), said(written([*EDGES, *others[:more]]), "0=a")
    share = task.score(completion, GRAPH).perception_f1
    assert share == pytest.approx(8 / (8 + more))  # of a diagnosis, which pays nobody
    for judge in (task, EitherTask()):
        (value,) = rewards.from_task(judge).perception_f1([completion], truth=[GRAPH])
        assert value == (share if paid else 0)
    label = {"perception": [written(EDGES)], "grammar": ["edges"]}
    assert rewards.perception_f1([completion], **label)[0] == pytest.approx(share if paid else 0)


@pytest.mark.parametrize("more, paid", [(2, True), (3, False)])
def test_more_than_twice_the_rows_earn_nothing(more, paid):
    question = {"kind": "sum", "a": "x", "b": "y", "above": 0}
    truth = {"kind": "bar", "values": {"x": 1, "y": 2}, "question": question}
    rows = ["x: 1", "y: 2", *(f"{name}: 3" for name in "abc"[:more])]
    by_task = rewards.from_task(get_task("chart"))
    (value,) = by_task.perception_f1([said("; ".join(rows), "9")], truth=[truth])
    assert value == (2 / (2 + more) if paid else 0)


def test_a_grid_has_as_many_cells_as_any_other():
    made = get_task("sudoku").generate(0, "train", 0)
    empty = " ".join(f"{word[:5]}_" for word in made.perception.split())
    (value,) = rewards.from_task(get_task("sudoku")).perception_f1(
        [said(empty, "x")], truth=[made.truth]
    )
    assert value == made.truth["blanks"] / 16
