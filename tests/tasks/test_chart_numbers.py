"""Which numbers are read in a chart's answer and table, and which are refused."""

import pytest
from growth import is_linear

from percbal.responses.reading import LONGEST, Refusal
from percbal.tasks import get_task
from percbal.tasks.chart_table import Question, Table
from percbal.tasks.read_number import one_number, read_number
from percbal.tasks.read_table import read_table


def answered(first, second, asked, said):
    """Whether an answer about a and b is right."""
    task = get_task("chart")
    truth = task.facts(Table("bar", {"a": first, "b": second}, Question(asked, "a", "b", 0)))
    text = f"<perception>a: {first}; b: {second}</perception> <answer>{said}</answer>"
    score = task.score(text, truth)
    assert score.reasoning is score.answer  # p* was perceived
    return score.answer


NEGATIVE = ["-15", "−15", "–15", "‑15", "－15", "- 15", "− 15", "The answer is −15.", "= - 15"]
NEGATIVE += [
    "**−15**",
    "$-15$",
    "-$15",
    "(-15)",
    "minus 15",
    "It is negative 15.",
    "–15.0",
    "\n- 15",
    *("−\u00a015", "-\u202f15", "-\u200915", "minus\u00a015"),  # spaces that are no blanks
]


@pytest.mark.parametrize("said", NEGATIVE)
def test_every_minus_is_read(said):
    assert one_number(said) == -15
    assert answered(30, 45, "difference", said)
    assert not answered(45, 30, "difference", said)


@pytest.mark.parametrize(
    "said",
    [
        *(
            "Answer - 15",
            "Answer – 15",
            "Answer—15",
            "— 15",
            "Answer-15",
            "--15",
            "±15",
            "- **15**",
        ),
        *(r"$-\,15$", r"-\mathbf{15}", r"-\text{15}", "(-) 15", "−<b>15</b>", "-≈15"),
        *("the difference minus 15", "Steps:\n- 15", "10-15", "30 - 45"),
        *("15.9km", "15km", "15k", "15e0", "15_", "2x15", "15.9.2", "15..9"),
        *("15,9", "0,150", "1,2", "1,20", "1,2000", "1.200,5", "1,200,5", "1,,200", "1 200"),
        *("9" * 13, "Q15", ".15", "", "fifteen"),
    ],
)
def test_what_may_be_another_number_is_refused(said):
    found = one_number(said)
    assert isinstance(found, Refusal) and found.reason == "number" and len(found.problem) < 100
    assert not any(
        answered(*values, asked, said)
        for values in ((45, 30), (30, 45))
        for asked in ("difference", "sum", "ratio")
    )


@pytest.mark.parametrize(
    "said, found",
    [
        ("15.2x", 15.2),
        ("1.5x", 1.5),
        ("1.50×", 1.5),
        ("1.5000000000000000", 1.5),
        ("15.99999999999999", 15.99999999999999),
        ("15.", 15),
        ("15, since", 15),
        ("+15", 15),
        ("1,200", 1200),
        ("-1,234,567.5", -1234567.5),
        ("about $1,200.", 1200),
        ("In Q2 the 2nd is 15", 15),
        ("15 (that is 15.0)", 15),
        ("Difference: 15", 15),
    ],
)
def test_a_number_is_read_to_its_end(said, found):
    assert one_number(said) == found


@pytest.mark.parametrize("said", ["15.9km", "15.2x", "15.99999999999999"])
def test_decimals_count(said):
    assert not answered(45, 30, "difference", said)


@pytest.mark.parametrize("said", ["1.5x", "1.50x", "1.5000000000000000"])
def test_a_ratio_may_say_times(said):
    assert answered(45, 30, "ratio", said)


def test_thousands():
    assert answered(1000, 200, "sum", "1,200") and answered(1000, 200, "sum", "1,200.00")
    assert not answered(1, 0.2, "sum", "1,200")
    with_commas = ("Mon: 30; Tue: 1,200", '{"Mon": 30, "Tue": "1,200"}', "|Mon|30|\n|Tue|1,200|")
    for text in (*with_commas, "Mon: 30, Tue: 1,200", '{"Mon": 30, "Tue": 1,200}'):
        assert read_table(text) == {"mon": 30, "tue": 1200}
    for text in ("Mon: 30; Tue: 1,20", "Mon: 30; Tue: 1,2000", "Mon: 30; Tue: 0,200"):
        assert read_table(text).reason == "row"


def test_a_table_has_the_same_numbers():
    for minus in ("-", "−", "–", "- ", "− "):
        assert read_table(f"Mon: {minus}30; Tue: 4.{'5' * 15}") == {
            "mon": -30,
            "tue": 4.555555555555555,
        }
        assert read_table(f'{{"Mon": "{minus}30"}}') == {"mon": -30}
    for text in (
        "Mon: 30km",
        "Mon: 3.5x",
        "Mon: --30",
        "Mon: —30",
        "Mon: 1.2.3",
        f"Mon: {'9' * 13}",
    ):
        assert read_table(text).reason == "row"
    assert read_number("15") == 15 and read_number("15 or") is None


@pytest.mark.parametrize(
    "piece", ["1", "1,", "1.", "1,111", "- ", "−", " ", "x", "minus ", "$", "*"]
)
def test_a_long_answer_is_read_and_a_longer_one_refused(piece):
    text = (piece * LONGEST)[:LONGEST]
    assert is_linear(one_number, lambda n: text[:n], LONGEST // 4)
    assert is_linear(read_table, lambda n: text[:n], LONGEST // 4)
    assert one_number(text + "15").reason == "too_long"
