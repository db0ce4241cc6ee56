"""Where an announced answer begins and ends."""

from __future__ import annotations

import pytest
from growth import is_linear

from percbal.responses.final_answer import final_answer
from percbal.responses.formats import make_format
from percbal.responses.reading import Part, Refusal

ANNOUNCED = [
    "Answer: 42",
    "**Final Answer: 42**",
    "**Final answer:** 42",
    "**Final answer**: 42",
    "**Answer:** **42**",
    "Answer: **42**",
    "Answer: *42*",
    "Answer: _42_",
    "__Answer: 42__",
    "**Answer:** *42*",
    "*Answer:* ***42***",
    "**Answer:**\n**42**",
    "### **Final answer**\n\n**42**\n",
    "> **Answer: 42**",
    "- **Answer:** 42",
    "* **Answer: 42**",
    "+ Answer: 42",
    "• Final answer: 42",
    "  - The answer is: 42",
    "3. **Answer:** 42",
    "2) Answer: **42**",
    "- **Answer:** \\boxed{42}",
    "**Answer: \\boxed{42}**",
]


@pytest.mark.parametrize("said", ANNOUNCED)
def test_an_announced_answer_has_no_marks_around_it(said):
    for text in (said, f"I think so.\n\n{said}", f"I think so.\n\n{said}\n"):
        found = final_answer(text)
        assert isinstance(found, Part) and found.text == "42"
        assert text[slice(*found.inner)] == "42" and found.outer[0] <= found.inner[0]
        assert make_format("none").read(text).answer == "42"
        assert make_format("fence").read(f"```\n[[1]]\n```\n{text}").answer == "42"


@pytest.mark.parametrize(
    "said, text",
    [
        ("**Answer: 42**, since 6 * 7 is it.", "42, since 6 * 7 is it."),
        ("**Answer: 42**.", "42."),
        ("Answer: **a**, then **b**", "a, then **b**"),
        ("Answer: 6*7 and 2**3", "6*7 and 2**3"),
        ("Answer: _ 1 _ 2", "_ 1 _ 2"),  # cells of a row
        ("Answer: _1_2", "_1_2"),
        ("Answer: __12\n12__", "__12\n12__"),
        ("Answer: **42", "42"),  # cut short
        ("Answer: * a\n* b", "* a\n* b"),
        ("**Answer:**\n* a\n* b", "* a\n* b"),
        ("Answer: r1c1=_ r1c2=3", "r1c1=_ r1c2=3"),
        ("**Answer: 2 ** 3**", "2 ** 3"),
    ],
)
def test_marks_that_are_of_the_answer_stay(said, text):
    assert final_answer(said).text == text


@pytest.mark.parametrize(
    "text, reason",
    [
        ("- Answer: 1\n- Answer: 1", "two_answers"),
        ("**Answer:**", "missing"),
        ("**Answer: **", "missing"),
        ("- Answer:\n", "missing"),
        ("The answers: 1", "missing"),
        ("-Answer: 1", "missing"),
    ],
)
def test_what_is_no_answer_is_refused(text, reason):
    found = final_answer(text)
    assert isinstance(found, Refusal) and found.reason == reason


@pytest.mark.parametrize("unit", ["*", "_", " ", "#", "*_", "**Answer", "Answer:", "1. "])
def test_reading_takes_linear_time(unit):
    assert is_linear(final_answer, lambda n: unit * (n // len(unit)) + " Answer: 4")
    assert is_linear(final_answer, lambda n: "**Answer: " + unit * (n // len(unit)) + "!")
