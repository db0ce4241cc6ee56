"""A newcomer finds every word of docs/results.md's tables in the glossary of docs/study.md."""

from __future__ import annotations

import re

import pytest
from study_lines import DOCS

from percbal.study.figure_names import ACCURACIES, OTHERS
from percbal.study.registration import read_registration

THIRD = ", (first|second|last) third$"
TITLES = [re.sub(THIRD, "", title) for title in (*ACCURACIES.values(), *OTHERS.values())]
PLANS = [read_registration(path).planned for path in sorted((DOCS / "studies").glob("*.yaml"))]
ARMS = [arm for plan in PLANS for study in plan.values() for arm in study["arms"]]


def words():
    """The first column of the glossary that the page links to."""
    link = "study.md#words-of-the-results"
    assert f"]({link})" in (DOCS / "results.md").read_text()
    _, _, after = (DOCS / "study.md").read_text().partition("### Words of the results\n")
    table = after.partition("\n#")[0]
    return [row.split(" | ")[0].removeprefix("| ") for row in table.splitlines() if " | " in row]


@pytest.mark.parametrize(
    "word", sorted({*TITLES, *ARMS, "lambda", "log-odds", "points", "primary"})
)
def test_every_title_and_every_arm_is_explained(word):
    kind = re.sub(" [0-9.]+$", "", word)  # fixed 0.05, flipped 0.11
    listed = re.split(r", (?![^(]*\))", ", ".join(words()))
    assert kind in listed, listed


def test_the_columns_of_a_table_of_differences_say_what_they_hold():
    text = (DOCS / "results.md").read_text()
    heads = [row for row in text.splitlines() if row.startswith("| difference |")]
    assert heads and all(
        "| predicted sign (chance) | prediction came | verdict |" in h for h in heads
    )
    assert "none of these" not in text and "levels" not in text
