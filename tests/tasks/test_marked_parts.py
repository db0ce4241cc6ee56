"""What is shown part by part agrees with the judge: something is wrong exactly where it says so."""

from __future__ import annotations

import json
import random
from itertools import islice

import pytest
from changes import CASES, changed_answers, changed_perceptions

from percbal.evaluate.paper_rewards import EitherTask
from percbal.evaluate.row_judges import LabelJudge, judge_of
from percbal.tasks import get_task
from percbal.tasks.base import tagged

CLUES = [[1, 0, 0, 4], [0, 0, 1, 0], [0, 1, 0, 0], [4, 0, 0, 1]]
GRID = json.dumps(CLUES)


def said(perception, answer):
    spans = (("perception", perception), ("reasoning", "so"), ("answer", answer))
    return " ".join(tagged(*span) for span in spans)


def agrees(judge, truth, perception, answer):
    """Of all that tells what is wrong with the score; the score's answer."""
    right = shows(judge, truth, perception, answer)
    assert (judge.wrong_answers(said(perception, answer), truth) == []) is right
    return right


def shows(judge, truth, perception, answer):
    """The same of a judge that does not tell the wrong parts of an answer."""
    completion = said(perception, answer)
    score, tables = judge.score(completion, truth), judge.marked(completion, truth)
    shown = {name: all(ok for row in table for _, ok in row) for name, table in tables.items()}
    assert shown == {"perceived": score.perception, "answer": score.answer}, completion
    assert (judge.wrong_parts(completion, truth) == []) is score.perception
    return score.answer


@pytest.mark.parametrize("name, options", CASES)
def test_a_task_marks_what_it_judges_wrong(name, options):
    task = get_task(name, form="paper", **options)
    for i in range(3):
        problem = task.problem("test", random.Random(i))
        truth = task.facts(problem)
        p, (_, answer) = task.write(problem), task.solve(problem, random.Random(0))
        for changed, still in [(answer, True), *islice(changed_answers(problem, answer, task), 40)]:
            assert agrees(task, truth, p, changed) is still
        for changed in islice(changed_perceptions(problem, task), 40):
            agrees(task, truth, changed, answer)


@pytest.mark.parametrize("name", ["sudoku", "coloring"])
def test_rows_of_the_paper_mark_what_they_judge_wrong(name):
    options = {"size": 9, "pixels": 144} if name == "sudoku" else {"pixels": 200}
    task = get_task(name, form="paper", **options)
    for i in range(3):
        problem = task.problem("test", random.Random(i))
        judge, truth = judge_of({"truth": task.ground_truth(task.facts(problem))})
        assert isinstance(judge, EitherTask)
        p, (_, answer) = task.write(problem), task.solve(problem, random.Random(0))
        for changed, still in [(answer, True), *islice(changed_answers(problem, answer, task), 40)]:
            assert agrees(judge, truth, p, changed) is still
        for changed in islice(changed_perceptions(problem, task), 40):
            agrees(judge, truth, changed, answer)


def test_another_right_answer_of_a_paper_s_row_has_no_wrong_cell():
    """A puzzle with several solutions: cells are compared by the rules, not with one of them."""
    task = get_task("sudoku", size=9, pixels=144)
    solution = [d for row in task.generate(0, "test", 0).truth["solution"] for d in row]
    swapped = [{1: 2, 2: 1}.get(d, d) for d in solution]
    clues = [0 if d in (1, 2) else d for d in solution]
    for grid in (solution, swapped):
        rows = json.dumps([grid[i : i + 9] for i in range(0, 81, 9)])
        given = json.dumps([clues[i : i + 9] for i in range(0, 81, 9)])
        assert agrees(EitherTask(), clues, given, rows) is True
        truth = {
            "size": 9,
            "clues": json.loads(given),
            "solution": [solution[i : i + 9] for i in range(0, 81, 9)],
        }
        assert agrees(task, truth, given, rows) is True


@pytest.mark.parametrize("grammar, label, seen, wrong", [
    ("grid", GRID, GRID, []),
    ("grid", GRID, GRID.replace("[0, 0, 1, 0]", "[0, 2, 1, 0]"), [("r2c2", None, "2")]),
    ("edges", "0-1 1-2", "2-1, 1-0", []),
    ("edges", "0-1 1-2", "0-1, 0-2", [("1-2", "", None), ("0-2", None, "")]),
])  # fmt: skip
def test_a_label_is_compared_part_by_part(grammar, label, seen, wrong):
    truth = {"perception": label, "answer": "4", "grammar": grammar, "answer_grammar": "numbers"}
    judge = LabelJudge()
    assert shows(judge, truth, seen, "4") and not shows(judge, truth, seen, "5")
    completion = said(seen, "4")
    assert judge.wrong_parts(completion, truth) == wrong
    assert len(judge.marked(completion, truth)["perceived"]) > 1


@pytest.mark.parametrize("grammar, label, seen", [
    (None, "two red squares", "two blue squares"),
    ("edges", "A-B", "A-C"),  # letters are no vertices of the tasks
    ("grid", "r1c1=5 r1c2=3", "r1c1=5 r1c2=4"),  # of no size that tasks know
    ("numbers", "[1, 2]", "[1, 3]"),
])  # fmt: skip
def test_a_label_without_parts_is_shown_whole(grammar, label, seen):
    truth = {"perception": label, "answer": "4", "grammar": grammar, "answer_grammar": "text"}
    tables = LabelJudge().marked(said(seen, "4"), truth)
    assert tables == {"perceived": [[(seen, False)]], "answer": [[("4", True)]]}
    assert LabelJudge().wrong_parts(said(seen, "4"), truth) == []
    assert LabelJudge().marked(said(label, "4"), truth)["perceived"] == [[(label, True)]]
    assert LabelJudge().marked("nothing", truth) == {}


TRUTHS = {
    "sudoku": {
        "size": 4,
        "clues": CLUES,
        "solution": [[1, 2, 3, 4], [3, 4, 1, 2], [2, 1, 4, 3], [4, 3, 2, 1]],
    },
    "coloring": {"v": 4, "c": 2, "edges": [[0, 1], [1, 2], [2, 3]]},
    "chart": {
        "kind": "bar",
        "values": {"Mon": 30, "Tue": 45},
        "question": {"kind": "difference", "a": "Mon", "b": "Tue", "above": 10},
    },
}


@pytest.mark.parametrize("name, answer, wrong", [
    ("sudoku", "[[1,3,3,4],[3,4,1,2],[2,1,4,3],[4,3,2,0]]",
     [("r1c2", "2", "3"), ("r4c4", "1", None)]),
    ("sudoku", "r1c2=2 r1c3=3 r2c1=3 r2c2=4 r2c4=3 r3c1=2 r3c3=4 r3c4=3 r4c2=3",
     [("r2c4", "2", "3"), ("r4c3", "2", None)]),
    ("coloring", "0=a 1=a 2=b 4=a",
     [("0", None, "a"), ("1", None, "a"), ("4", None, "a"), ("3", None, None)]),
    ("coloring", "0=a 1=b 2=c 3=b", [("colors", "2", "3")]),
    ("chart", "15", [("answer", "-15", "15")]),
    ("chart", "-15", []),
    ("chart", "I cannot tell", []),
])  # fmt: skip
def test_the_wrong_parts_of_an_answer_are_named_with_what_is_right(name, answer, wrong):
    assert get_task(name).wrong_answers(said("", answer), TRUTHS[name]) == wrong


@pytest.mark.parametrize("truth, answer, wrong", [
    (CLUES, "[[1,3,3,4],[3,4,1,2],[2,1,4,3],[4,3,2,0]]",
     [(cell, None, "3") for cell in ("r1c2", "r1c3", "r2c1", "r4c2")] + [("r4c4", "1", None)]),
    (TRUTHS["coloring"], "0=a 1=b 2=c 3=b", [("colors", "2", "3")]),
    (TRUTHS["chart"], "15", [("answer", "-15", "15")]),
])  # fmt: skip
def test_so_are_those_of_a_row_of_the_paper(truth, answer, wrong):
    """By the rules alone, since such a row holds no solution."""
    judge, read = judge_of({"truth": truth})
    assert isinstance(judge, EitherTask)
    assert judge.wrong_answers(said("", answer), read) == wrong
    assert judge.wrong_answers("nothing", read) == []


def test_a_sudoku_s_own_truth_has_a_difficulty_without_its_task():
    judge, truth = judge_of({"truth": {"clues": [[5, *[0] * 8], *[[0] * 9] * 8]}})
    assert judge.difficulty(truth) == {"blanks": 80}


@pytest.mark.parametrize("name", ["sudoku", "coloring", "chart"])
def test_a_row_that_names_a_task_may_hold_its_ground_truth(name):
    """The column ``truth`` of an export, or what stands in ``ground_truth``, or another's."""
    task = get_task(name)
    problem = task.problem("test", random.Random(0))
    truth = task.facts(problem)
    response = said(task.write(problem), task.solve(problem, random.Random(0))[1])
    shown = json.loads(task.ground_truth(truth))
    for given in (truth, shown, {"grid": shown} if name == "sudoku" else shown):
        for form in (given, json.dumps(given)):
            judge, read = judge_of({"task": name, "truth": form})
            assert judge.score(response, read).answer is True


def test_a_truth_that_neither_its_task_nor_another_can_read_is_refused():
    with pytest.raises(ValueError, match="truth of a row of task sudoku cannot be read: KeyError"):
        judge_of({"task": "sudoku", "truth": {"cells": CLUES}})
