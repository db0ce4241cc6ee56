"""Facts about charts: tables, pictures, arithmetic, and the reader of tables."""

import operator
import random
import re

import numpy as np
import pytest

from percbal.responses.reading import Refusal
from percbal.tasks import get_task
from percbal.tasks.chart_aloud import ratio_text
from percbal.tasks.chart_table import QUESTIONS, Question, Table
from percbal.tasks.picture_task import LEVELS
from percbal.tasks.read_table import read_table

VALUES = {"Mon": 30, "Tue": 45, "Wed": 10}
ANSWERS = {"difference": 15, "ratio": 1.5, "sum": 85, "range": 35, "count": 1}
SPANS = "<perception> {} </perception> <reasoning> r </reasoning> <answer> {} </answer>"


def table(kind="bar", asked="difference"):
    return Table(kind, VALUES, Question(asked, "Tue", "Mon", 40))


def judged(asked, seen, said):
    task = get_task("chart")
    score = task.score(SPANS.format(seen, said), task.facts(table(asked=asked)))
    return score.answer, score.perception, round(score.perception_f1, 3), score.reasoning


@pytest.mark.parametrize("asked", QUESTIONS)
def test_answers_are_right_by_arithmetic(asked):
    assert Question(asked, "Tue", "Mon", 40).value(VALUES) == ANSWERS[asked]
    seen = "Mon: 30; Tue: 45; Wed: 10"
    assert judged(asked, seen, ANSWERS[asked]) == (True, True, 1, True)
    assert judged(asked, seen, f"The answer is {ANSWERS[asked]}.") == (True, True, 1, True)
    assert judged(asked, seen, ANSWERS[asked] + 1) == (False, True, 1, False)
    assert judged(asked, seen, "I do not know") == (False, True, 1, False)
    assert judged(asked, seen, "1 or 2") == (False, True, 1, False)


def test_scores_tell_seeing_from_thinking():
    seen = "Mon: 30; Tue: 50; Wed: 10"
    assert judged("difference", seen, 20) == (False, False, round(2 / 3, 3), True)
    assert judged("difference", seen, 15) == (True, False, round(2 / 3, 3), False)
    assert judged("difference", "Mon: 30", 15) == (True, False, round(1 / 3, 3), False)
    assert judged("count", seen, 1) == (True, False, round(2 / 3, 3), True)
    assert judged("ratio", "Mon: 0; Tue: 45", 1.5) == (True, False, round(1 / 3, 3), False)


def test_a_ratio_may_be_rounded_to_two_decimals():
    task = get_task("chart")
    thirds = Table("bar", {"a": 10, "b": 30}, Question("ratio", "a", "b", 0))
    truth = task.facts(thirds)
    for said, right in (("0.33", True), ("0.3333333", True), ("0.34", False), ("1/3", False)):
        assert task.score(SPANS.format("a: 10; b: 30", said), truth).answer is right


@pytest.mark.parametrize("asked", QUESTIONS)
@pytest.mark.parametrize("verbosity", [-1, 0, 1, 2, 3])
def test_every_equation_of_the_reasoning_holds(asked, verbosity):
    task = get_task("chart", question=asked, verbosity=verbosity)
    compute = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
    for i in range(40):
        text, answer = task.solve(task.problem("train", random.Random(i)), random.Random(i))
        steps = re.findall(r"(-?\d+) ([-+*/]) (-?\d+) = (-?[\d.]+)", text)
        for a, sign, b, result in steps:
            assert float(result) == pytest.approx(compute[sign](int(a), int(b)), abs=0.005)
        for a, b, found in re.findall(r"(\d+) > (\d+) = (yes|no)", text):
            assert (int(a) > int(b)) == (found == "yes")
        assert text.endswith(f"so {answer}") and (steps or verbosity < 1)
        assert not steps or steps[-1][3] == answer
        assert (" check " in text) == (verbosity == 3)


@pytest.mark.parametrize("ticks", [10, 30])
@pytest.mark.parametrize("asked", QUESTIONS)
def test_the_longest_reasoning_checks_every_reading_and_its_place(asked, ticks):
    task = get_task("chart", question=asked, verbosity=3, ticks=ticks, step=1, kind="bar")
    for i in range(40):
        shown = task.problem("train", random.Random(i))
        values = shown.values
        text, answer = task.solve(shown, random.Random(i))
        for label, number in values.items():
            count, over = divmod(number, ticks)
            low = number - over
            read = f"{label} {number} ticks {count} {count} * {ticks} = {low} "
            high = f"next {low + ticks} {low + ticks} - {ticks - over} = {number} "
            high = high if low + ticks <= 100 else ""  # the next one is not drawn
            assert read + (f"{low} + {over} = {number} {high}" if over else "") in text
        order = re.findall(rf"order ((?:[A-Za-z]+ \d+ ?){{{len(values)}}})", text)[-1].split()
        assert [*map(int, order[1::2])] == sorted(values.values())
        assert dict(zip(order[::2], map(int, order[1::2]), strict=True)) == values
        by_size = text.partition(" by size ")[2]
        assert bool(by_size) == (asked != "ratio")
        if asked == "difference":  # the gaps on the way, which add up to it
            sums = re.findall(r"(\d+) \+ \d+ = (\d+)", by_size.rpartition(" - ")[0])
            assert not sums or int(sums[-1][1]) in (abs(int(answer)), *values.values())


def test_a_ratio_is_divided_digit_by_digit_and_halves_go_up():
    task = get_task("chart", question="ratio", verbosity=3, step=1)
    for a, b, said in ((1, 8, "0.13"), (3, 8, "0.38"), (40, 7, "5.71"), (5, 40, "0.13")):
        text, answer = task.solve(
            Table("bar", {"Mon": a, "Tue": b}, Question("ratio", "Mon", "Tue", 1)), random.Random(0)
        )
        assert answer == said and f"{a} / {b} = {said}" in text
    assert (
        "3 * 10 = 30 3 * 8 = 24 30 - 24 = 6"
        in task.solve(
            Table("bar", {"Mon": 3, "Tue": 8}, Question("ratio", "Mon", "Tue", 1)), random.Random(0)
        )[0]
    )
    assert ratio_text(70, 35) == "2" and ratio_text(1999, 1000) == "2.00"


@pytest.mark.parametrize("kind", ["bar", "line", "scatter"])
def test_a_picture_shows_the_value(kind):
    """One bar or point, higher by so many pixels as its value is larger."""
    task = get_task("chart", kind=kind, pixels=300, ticks=50, grid=False)
    tops = []
    for value in (20, 40, 60):
        shown = Table(kind, {"5": value, "9": 10}, Question("sum", "5", "9", 10))
        inside = np.asarray(task.draw(shown, random.Random(3)))[12:240, 45:285].astype(int)
        tops.append(np.flatnonzero((inside.min(-1) < 230).any(1))[0])
    assert tops[0] - tops[1] == pytest.approx(tops[1] - tops[2], abs=1)
    assert tops[0] - tops[1] == pytest.approx(20 * 0.8 * 300 / 104, abs=1.5)


@pytest.mark.parametrize("kind", ["bar", "line", "scatter"])
def test_the_closest_values_that_are_allowed_have_other_pictures(kind):
    look = dict(kind=kind, pixels=200, noise=0.0, rows=2, top=100, step=1)
    task = get_task("chart", **look)
    (table,) = [task.problem("train", random.Random(0))]
    label = next(iter(table.values))
    seen = set()
    for value in range(1, 101):
        changed = table._replace(values=table.values | {label: value})
        seen.add(task.draw(changed, random.Random(1)).tobytes())
    assert len(seen) == 100
    with pytest.raises(ValueError, match="look alike"):
        get_task("chart", **look | {"pixels": 180})


def test_harder_charts_have_more_values_and_fewer_marks_to_read_them_by():
    easy, medium, hard = (get_task("chart", level=level) for level in LEVELS)
    assert easy.rows < medium.rows < hard.rows and easy.step > medium.step > hard.step
    assert easy.look.ticks <= medium.look.ticks < hard.look.ticks
    for task in (easy, medium, hard):
        for i in range(50):
            shown = task.problem("train", random.Random(i))
            assert task.rows[0] <= len(shown.values) <= task.rows[1]
            assert all(v % task.step == 0 and 0 < v <= 100 for v in shown.values.values())


@pytest.mark.parametrize(
    "text",
    [
        "Mon: 30; Tue: 45; Wed: 10",
        '{"Mon": 30, "Tue": 45, "Wed": 10.0}',
        'The table:\n```json\n{"Mon": 30, "Tue": "45", "Wed": 10}\n```',
        "- Mon: 30\n- Tue: 45\n- **Wed**: 10\n",
        "1. Mon = 30\n2. Tue = 45\n3. Wed = 10",
        "| Day | Value |\n|---|---|\n| Mon | 30 |\n| Tue | 45 |\n| Wed | 10 |",
        "Here is the table.\nWed: 10, Tue: 45, Mon: 30",
        "mon: 30\nTUE: 45\nWed: 10\nMon: 30",
    ],
)
def test_tables_in_models_own_words_are_read(text):
    assert read_table(text) == {"mon": 30, "tue": 45, "wed": 10}


@pytest.mark.parametrize(
    "text, reason",
    [
        ("", "no_table"),
        ("A bar chart with some bars.", "no_table"),
        ("Mon: 30; Tue: about 45", "row"),
        ("Mon has 30", "row"),
        ("30, 45, 10", "row"),
        ("Mon: 30; Mon: 31", "two_values"),
        ('{"Mon": 30, "Tue": null}', "row"),
        ('{"Mon": [30]}', "row"),
        ("Mon: 30\n" * 20_000, "too_long"),
    ],
)
def test_what_is_no_table_is_refused_with_a_reason(text, reason):
    found = read_table(text)
    assert isinstance(found, Refusal) and found.reason == reason and len(found.problem) < 100


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(rows=1), r"rows must be \(fewest, most\) from 2 to 10, got 1"),
        (dict(step=0), "it takes 1 <= step <= top / 2 <= 500, got 0 and 100"),
        (dict(kind="pie"), "kind must be one of bar, line, scatter, any, got 'pie'"),
        (
            dict(top=1000, step=1),
            "values 1 apart look alike: with a top of 1000 they are 0.3 of 384 pixels apart",
        ),
        (dict(pixels=20), "pixels must be 96 or more and ticks 1 or more, got 20 and 10"),
        (dict(top=30, ticks=31), "ticks must be at most top, got 31 and 30"),
        (dict(question="mean"), "question must be one of difference, ratio, sum, range, count"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        get_task("chart", **options)


@pytest.mark.parametrize(
    "first, second, said, wrong",
    [
        (10, 30, "0.326", ("answer", "0.33", "0.326")),  # both were shown as 0.33
        (10, 80, "0.14", ("answer", "0.13", "0.14")),  # halves up, as the task's own answer
        (10, 80, "0.12", None),
        (10, 80, "0.13", None),
        (60, 20, "1234567.25", ("answer", "3", "1234567.25")),
        (-1.5, 12, "1", ("answer", "-0.13", "1")),  # of a truth that others wrote
    ],
)
def test_a_wrong_ratio_is_shown_unrounded_beside_the_right_one(first, second, said, wrong):
    task = get_task("chart")
    values = {"Mon": first, "Tue": second}
    truth = task.facts(Table("bar", values, Question("ratio", "Mon", "Tue", 40)))
    text = SPANS.format("", said)
    assert task.wrong_answers(text, truth) == ([wrong] if wrong else [])
    assert task.marked(text, truth)["answer"] == [[(said, wrong is None)]]
    if wrong and first > 0:
        assert ratio_text(first, second) == wrong[1]
