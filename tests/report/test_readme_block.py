"""What the README and the picture of gains say of the main cell, complete or growing."""

from __future__ import annotations

import pytest
from matplotlib import pyplot as plt
from study_lines import gains, line

from percbal.report.evidence_headline import headline, write_headline
from percbal.report.evidence_plots import gains_figure

PLAN = {"arms": ["token-mean", "fixed 0.5", "NGDiff"], "starts": 16}

BEGIN, END = "<!-- results: begin -->\n", "<!-- results: end -->"


def said(lines):
    return headline(lines, "sft-sudoku", "token-mean", PLAN)


def start(i, exact_p, weights="w"):
    names = {"kind": "start", "study": "sft-sudoku", "start": f"base {i}", "status": "reached"}
    return {**names, "weights": weights, "figures": {"step": 9, "exact_p": exact_p}}


def test_the_readme_has_the_numbers_of_the_main_cell():
    text = said(gains(0.1, 0.3))
    assert "(token-mean, a = 50.0%)" in text and "from 2 of 16 bases" in text
    assert "End to end, greedy: fixed 0.5 +20.0 ±127.1." in text
    assert "Perception" not in text and "NGDiff" not in text, "what no base has is not said"
    assert said(gains(0.1)) == ""


def test_where_arms_have_other_numbers_of_bases_each_says_its_own():
    """More runs of token-mean are no more bases of a comparison."""
    lines = gains(0.1, 0.3, 0.2) + [line(start=i, a=0.9) for i in range(3, 9)]
    assert "(token-mean, a = 50.0%)" in said(lines) and "from 3 of 16 bases" in said(lines)
    lines += gains(0.1, 0.3, arm="NGDiff")[2:]
    assert "from 2 to 3 of 16 bases (the number of bases in brackets)" in said(lines)
    assert "fixed 0.5 +20.0 ±24.8 (3), NGDiff +20.0 ±127.1 (2)." in said(lines)


def test_the_picture_counts_the_bases_of_each_arm():
    def words(lines):
        figure = gains_figure(lines, "sft-sudoku", "token-mean", PLAN["arms"])
        names = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
        plt.close(figure)
        return names, figure.get_supxlabel()

    both = gains(0.1, 0.3) + gains(0.1, 0.3, arm="NGDiff")[2:]
    assert words(both) == (["fixed 0.5", "NGDiff"], "points more than token-mean, 2 bases")
    more = [*both, line(start=7, a=0.5), line(start=8, a=0.5), line("NGDiff", 7, a=0.5)]
    names, below = words(more)
    assert names == ["fixed 0.5 (2)", "NGDiff (3)"]
    assert below == "points more than token-mean; in brackets the number of bases"


def test_the_competence_of_the_bases_is_what_was_measured():
    ends = [start(0, 0.22, "another"), start(0, 0.101), start(1, 0.158), start(2, 0.24)]
    assert "from 2 of 16 bases that began with an exact a_p of 10 to 16%, each" in said(
        [*ends, *gains(0.1, 0.3)]
    )
    assert "that began with an exact a_p of 10% (measured of 1)" in said([ends[1], *gains(0, 0.3)])
    assert "that began" not in said(gains(0.1, 0.3))


@pytest.mark.parametrize("text", ["numbers\n", ""])
def test_what_stands_between_the_marks_is_replaced(tmp_path, text):
    """By nothing where no line has a number."""
    readme = tmp_path / "README.md"
    write_headline(readme, text)
    assert not readme.exists()
    readme.write_text(f"before\n{BEGIN}old\n{END}\nafter\n")
    write_headline(readme, text)
    assert readme.read_text() == f"before\n{BEGIN}{text}{END}\nafter\n"


@pytest.mark.parametrize(
    "marks",
    [
        f"{BEGIN}old\n",
        f"{BEGIN}old\n<!-- results: ende -->\n",
        f"old\n{END}\n",
        f"{END}\n{BEGIN}old\n",
        f"{BEGIN}old\n{END}\n{BEGIN}old\n{END}\n",
        "none\n",
    ],
)
@pytest.mark.parametrize("text", ["numbers\n", ""])
def test_a_readme_without_both_marks_is_refused_and_kept(tmp_path, marks, text):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{marks}after\n")
    with pytest.raises(ValueError, match="README.md must have .* once each, in this order"):
        write_headline(readme, text)
    assert readme.read_text() == f"before\n{marks}after\n"
