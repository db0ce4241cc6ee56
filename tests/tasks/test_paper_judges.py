"""Facts about the judges of the paper's two data sets."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import grid_styles as grids
import pytest

from percbal.cli.grpo import reward_function
from percbal.evaluate.paper_rewards import EitherTask
from percbal.responses.formats import make_format
from percbal.rewards import from_task
from percbal.tasks import get_task
from percbal.tasks.paper import PaperChart, PaperColoring, PaperSudoku
from percbal.tasks.sudoku_text import grid_text

ROWS = [grids.GRID[i : i + 9] for i in range(0, 81, 9)]
DONE = [grids.SOLVED[i : i + 9] for i in range(0, 81, 9)]
GRAPH = {"v": 5, "c": 2, "edges": [[0, 1], [0, 3], [2, 1], [2, 3], [3, 4]]}
SEEN = "[[0, 1], [0, 3], [1, 2], [2, 3], [3, 4]]"
SAID = '{"0": "a", "1": "b", "2": "a", "3": "b", "4": "a"}'
ASKED = {"kind": "difference", "a": "Mon", "b": "Tue", "above": 10}
CHART = {"kind": "bar", "values": {"Mon": 30, "Tue": 45}, "question": ASKED}
TAGS = make_format("tags")


def judged(judge, truth, seen, said):
    score = judge.score(TAGS.write(seen, "so", said), truth)
    return score.answer, score.perception, round(score.perception_f1, 3), score.reasoning


@pytest.mark.parametrize(
    "truth", [grids.GRID, ROWS, json.dumps(grids.GRID), json.dumps(ROWS), {"grid": ROWS}]
)
def test_sudoku_takes_every_form_of_the_truth(truth):
    seen, said = json.dumps(ROWS), json.dumps(DONE)
    assert judged(PaperSudoku(), truth, seen, said) == (True, True, 1, True)


def test_sudoku_tells_seeing_from_thinking():
    sudoku, seen, said = PaperSudoku(), json.dumps(ROWS), json.dumps(DONE)
    missed = json.dumps([[0, *ROWS[0][1:]], *ROWS[1:]])
    assert judged(sudoku, ROWS, missed, said) == (True, False, round(80 / 81, 3), True)
    wrong = json.dumps([DONE[1], DONE[0], *DONE[2:]])
    assert judged(sudoku, ROWS, seen, wrong) == (False, True, 1, False)
    assert judged(sudoku, ROWS, "a grid", said) == (True, False, 0, None)
    assert judged(sudoku, ROWS, seen, "done") == (False, True, 1, False)
    score = sudoku.score("no tags", ROWS)
    assert (score.answer, score.perception, score.reasoning, score.parsed) == (
        None,
        None,
        None,
        False,
    )
    assert sudoku.score(TAGS.write("a", "b", "c"), ROWS).reason.startswith(
        "perception: there is no"
    )


def test_sudoku_reads_the_words_of_the_task_sudoku_too():
    sudoku, (seen, said) = PaperSudoku(), (grid_text(g, 9) for g in (grids.GRID, grids.SOLVED))
    assert judged(sudoku, ROWS, seen, said) == (True, True, 1, True)
    missed = "r1c1=_" + seen[6:]
    assert judged(sudoku, ROWS, missed, seen) == (False, False, round(80 / 81, 3), False)
    assert judged(sudoku, ROWS, seen[:-7], said)[1:] == (False, 0, None)  # a cell is not there


@pytest.mark.parametrize(
    "said, right",
    [
        (SAID, True),
        ('{"0": "b", "1": "a", "2": "b", "3": "a", "4": "b"}', True),
        ('{"0": "a", "1": "b", "2": "a", "3": "b", "4": "b"}', False),  # 3 and 4 are neighbours
        (
            '{"0": "a", "1": "b", "2": "a", "3": "b", "4": "c"}',
            False,
        ),  # proper, one colour too many
        ('{"0": "a", "1": "b", "2": "a", "3": "b"}', False),  # no vertex 4
        ('{"0": "a", "1": "b", "2": "a", "3": "b", "4": "a", "5": "a"}', False),
        ("two colours", False),
    ],
)
def test_a_coloring_is_right_by_its_constraints(said, right):
    assert judged(PaperColoring(), GRAPH, SEEN, said)[:3] == (right, True, 1)


def test_coloring_tells_seeing_from_thinking():
    coloring = PaperColoring()
    # an edge missed: the answer is right for both graphs
    assert judged(coloring, GRAPH, SEEN.replace(", [3, 4]", ""), SAID) == (True, False, 0.889, True)
    # an edge too many makes a triangle, which takes three colours
    more = SEEN[:-1] + ", [2, 4]]"
    three = SAID.replace('"4": "a"', '"4": "c"')
    assert judged(coloring, GRAPH, more, three) == (False, False, 0.909, True)
    assert judged(coloring, GRAPH, more, SAID) == (True, False, 0.909, False)
    # a vertex that is not there
    assert judged(coloring, GRAPH, "[[0, 9]]", SAID) == (True, False, 0, None)
    assert judged(coloring, json.dumps(GRAPH), "a graph", SAID) == (True, False, 0, None)


@pytest.mark.parametrize(
    "truth", [None, 4, "{", [1], [10] * 81, [5] * 16, [True] * 81, "[" * 10**5, {"v": 1}]
)
def test_a_truth_that_is_none_is_refused(truth):
    for judge in (PaperSudoku(), PaperColoring(), PaperChart()):
        with pytest.raises(ValueError, match="truth must be"):
            judge.score("", truth)


@pytest.mark.parametrize(
    "changed",
    [{"values": {"Mon": 30}}, {"values": {"Mon": 30, "Tue": "?"}}, {"values": [30, 45]}]
    + [{"question": "sum"}, {"question": {**ASKED, "kind": "mean"}}, {"question": {"kind": "sum"}}],
    ids=str,
)
def test_a_chart_that_is_none_is_refused(changed):
    with pytest.raises(ValueError, match="a chart's truth must be"):
        PaperChart().score("", CHART | changed)


def test_a_chart_tells_seeing_from_thinking():
    seen, chart = json.dumps(CHART["values"]), PaperChart()
    assert judged(chart, CHART, seen, "-15") == (True, True, 1, True)
    assert judged(chart, json.dumps(CHART), "Mon: 30; Tue: 45", "15") == (False, True, 1, False)
    assert judged(chart, CHART, "Mon: 30; Tue: 50", "-20") == (False, False, 0.5, True)


@pytest.mark.parametrize(
    "edges", [[[0, 5]], [[0, 0]], [[0]], [0], ["ab"], None, [[-1, 2]]], ids=str
)
def test_a_graph_that_is_none_is_refused(edges):
    with pytest.raises(ValueError, match="a graph's truth must be"):
        PaperColoring().score("", {**GRAPH, "edges": edges})


BY_TRUTH = {
    "sudoku": [dict(size=4), dict(size=6, pixels=96), dict(size=9, form="paper")],
    "coloring": [{}, dict(form="paper"), dict(vertices=[11, 13]), dict(vertices=16, pixels=1600)],
    "chart": [{}, dict(form="paper", level="hard")],
}


@pytest.mark.parametrize("name, options", [(n, o) for n, each in BY_TRUTH.items() for o in each])
def test_a_task_and_its_ground_truth_judge_alike(name, options):
    """Flawless responses, and those of others, of nothing, and of parts that no picture has."""
    task, other, seen, said = get_task(name, **options), EitherTask(), "", ""
    for i in range(8):
        problem = task.problem("test", random.Random(i))
        truth, before = task.facts(problem), (seen, said)
        given = json.loads(task.ground_truth(truth))
        seen, (_, said) = task.write(problem), task.solve(problem, random.Random(i))
        pairs = [(seen, said), (before[0], said), (seen, before[1]), before, (seen, "")]
        pairs += [("", said), (f"{seen} 0-15", said), (f"{seen} 0-16", said)]
        pairs += [(seen.replace("1", "2", 1), said), (seen, f"{said} 16=a")]
        assert other.score(TAGS.write(seen, "so", said), given).reasoning is True
        for pair in pairs:
            text = TAGS.write(pair[0], "so", pair[1])
            ours, theirs = task.score(text, truth), other.score(text, given)
            assert replace(ours, reason="") == replace(theirs, reason=""), text
            assert task.wrong_parts(text, truth) == other.wrong_parts(text, given)
            ours, theirs = task.marked(text, truth), other.marked(text, given)
            assert ours.get("perceived") == theirs.get("perceived")


def test_a_truth_may_be_given_as_its_json():
    for truth, response in (
        (GRAPH, TAGS.write(SEEN, "so", SAID)),
        (CHART, TAGS.write("Mon: 30; Tue: 45", "so", "-15")),
        (ROWS, TAGS.write(json.dumps(ROWS), "so", json.dumps(DONE))),
        ({"grid": ROWS}, TAGS.write(json.dumps(ROWS), "so", json.dumps(DONE))),
    ):
        found = [EitherTask().score(response, t) for t in (truth, json.dumps(truth))]
        assert found[0] == found[1] and found[0].answer
        hard = [EitherTask().difficulty(t) for t in (truth, json.dumps(truth))]
        assert hard[0] == hard[1]


def test_where_the_fewest_colors_are_not_counted_only_the_true_graph_tells():
    path = [[i, i + 1] for i in range(29)]
    truth = {"v": 30, "c": 2, "edges": path}
    said = json.dumps({str(i): "ab"[i % 2] for i in range(30)})
    assert judged(PaperColoring(), truth, json.dumps(path), said) == (True, True, 1, True)
    missed = judged(PaperColoring(), truth, json.dumps(path[1:]), said)
    assert missed == (True, False, 0.982, None)


def test_the_rewards_by_dotted_path_judge_each_row_by_its_own_truth():
    completions = [TAGS.write(json.dumps(ROWS), "so", json.dumps(DONE)), TAGS.write(SEEN, "", SAID)]
    truths = [json.dumps(grids.GRID), json.dumps(GRAPH)]
    for name in ("outcome", "perception", "perception_f1", "reasoning"):
        reward = reward_function(f"percbal.evaluate.paper_rewards.{name}")
        assert reward.__name__ == name
        assert reward(completions, truth=truths) == [1, 1]
        assert reward(completions, truth=truths[::-1]) == [0, 0]
        assert reward(completions, truth=[None, {"grid": ROWS}]) == [None, 0]


def test_rewards_come_from_the_judges_whatever_the_format():
    paper = make_format("paper")
    texts = [paper.tagged(paper.write(json.dumps(ROWS), "so", json.dumps(a))) for a in (DONE, ROWS)]
    for truth in (grids.GRID, json.dumps(ROWS), {"grid": ROWS}):
        rewards = from_task(PaperSudoku())
        assert rewards.outcome(texts, truth=[truth] * 2) == [1, 0]
        assert rewards.perception(texts, truth=[truth, None]) == [1, None]
    with pytest.raises(
        ValueError, match="truth of row 0 must be list or dict or its JSON, got '4'"
    ):
        from_task(PaperSudoku()).outcome([""], truth=["4"])
    rewards = from_task(PaperColoring())
    assert rewards.outcome([TAGS.write(SEEN, "so", SAID)], truth=[GRAPH]) == [1]
