"""A copied answer is one thing to TRL's rewards and to verl's: both pay the same for a response."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from percbal import rewards
from percbal.adapters.verl import compute_score
from percbal.responses.copied import copies_an_answer, words


class Case(NamedTuple):
    grammar: str
    truth: str  # p*
    answer: str  # the right one
    perceived: str
    own: str | None  # the response's own answer
    f1: float  # what perception_f1 pays
    exact: float = 0.0


CASES = {
    "nothing copied": Case("edges", "0-1 1-2 2-3", "7", "0-1 1-2", "7", 0.8),
    "the right answer": Case("edges", "0-1 1-2 2-3", "7", "0-1 1-2 7", None, 0),
    "the response's own wrong answer": Case("edges", "0-1 1-2 2-3", "7", "0-1 1-2 9", "9", 0),
    "another answer": Case("edges", "0-1 1-2 2-3", "7", "0-1 1-2 9", "8", 2 / 3),
    "a longer number": Case("edges", "0-1 1-2 2-3", "7", "0-1 1-2 77", "7", 2 / 3),
    "in quotes": Case("edges", "0-1 1-2 2-3", "7", '0-1 1-2 "7",', "7", 0),
    "at the end of a sentence": Case("text", "a red cube", "blue", "a red cube: blue.", None, 0),
    "in capitals": Case("text", "a red cube", "Blue", "a red blue", None, 0),
    # an edge read wrongly that ends in the answer is one word, and no copy
    "within a word": Case("edges", "0-1 1-2 2-3", "7", "0-1 1-7", "7", 0.4),
    "within a word of p*": Case("edges", "0-1 1-2 2-7", "7", "0-1 1-2 7", "7", 0),
    "a word of p*": Case("text", "the sign says 7", "7", "sign says 7", "7", 6 / 7),
    "several words": Case("text", "a red cube", "left of it", "red: left, of it", None, 0),
    "words apart": Case("text", "a red cube", "left of it", "red left of", None, 1 / 3),
    # named values: of such an answer every one stands in the perception, or it is no copy
    "cells in another order": Case("grid", "r1c1=1 r1c2=_", "r1c2=2", "r1c1=1 r1c2=2", None, 0),
    "named values apart": Case("text", "a b", "x=1 y=2", "y=2 a x=1", None, 0),
    "not all the named values": Case("text", "a b", "x=1 y=2", "a b x=1", None, 0.8),
    "exactly right": Case("edges", "0-1 1-7", "7", "0-1 1-7", "7", 1, 1),
    # the image shows the answer, and the perception is p* in other words
    "exactly right, spelt otherwise": Case("edges", "0-1 1-7", "7", "[[0, 1], [7, 1]]", "7", 1, 1),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_trl_and_verl_pay_the_same(case):
    text = f"<perception>{case.perceived}</perception> <reasoning>so</reasoning>"
    if case.own is not None:
        text += f" <answer>{case.own}</answer>"
    columns = {
        "completions": [text],
        "perception": [case.truth],
        "answer": [case.answer],
        "grammar": [case.grammar],
    }
    truth = {"perception": case.truth, "answer": case.answer}
    for score, trl, expected in (
        ("f1", rewards.perception_f1, case.f1),
        ("exact", rewards.perception, case.exact),
    ):
        verl = compute_score(
            "d", text, truth, perception_grammar=case.grammar, perception_score=score
        )
        assert trl(**columns) == [verl["perception"]] == [pytest.approx(expected)]


def test_nothing_that_is_exactly_right_is_a_copy():
    assert copies_an_answer(words("[0, 7]"), ["7"], "0-7")
    assert not copies_an_answer(words("[0, 7]"), ["7"], "0-7", exact=True)


def test_without_an_answer_there_is_nothing_to_copy():
    assert not copies_an_answer(words("0-7"), [None, "", " .", "[,]"])
