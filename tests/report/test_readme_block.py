"""What the README and the picture of gains say of the main cell, complete or growing."""

from __future__ import annotations

import pytest
from matplotlib import pyplot as plt
from study_lines import SFT, gains, line

from percbal.report.evidence_headline import headline, write_headline
from percbal.report.evidence_plots import gains_figure
from percbal.study.contrasts import effects

PLAN = {"arms": ["token-mean", "fixed 0.5", "NGDiff"], "starts": 16}

BEGIN, END = "<!-- results: begin -->\n", "<!-- results: end -->"


def said(lines):
    return headline(lines, effects(SFT, lines), "sft-sudoku", "token-mean", PLAN)


def start(i, exact_p, weights="w"):
    names = {"kind": "start", "study": "sft-sudoku", "start": f"base {i}", "status": "reached"}
    return {
        **names,
        "weights": weights,
        "registered": SFT.hash,
        "figures": {"step": 9, "exact_p": exact_p},
    }


def test_the_readme_has_the_numbers_of_the_main_cell():
    text = said(gains(0.1, 0.3))
    assert "(token-mean, a = 50.0%)" in text and "over 2 of 16 [bases]" in text
    assert "| minus token-mean | end to end, sampled (a) | end to end, greedy |\n" in text
    assert "\n| fixed 0.5 | +20.0 ±127.1 | +20.0 ±127.1 |\n" in text
    assert "(exact a_p)" not in text and "NGDiff" not in text, "what no base has is not said"
    assert said(gains(0.1)) == ""


def test_what_was_not_registered_is_in_italics():
    lines = [
        line(arm, i, a=0.5, exact_p=0.5 + 0.1 * i * (arm != "token-mean"))
        for arm in ("token-mean", "fixed 0.5", "NGDiff")
        for i in range(2)
    ]
    text = said(lines)
    assert "\n| fixed 0.5 | +5.0 ±63.5 | +0.0 | +0.0 |\n| NGDiff | *+5.0 ±63.5* | +0.0 |" in text


def test_where_arms_have_other_numbers_of_bases_each_says_its_own():
    """More runs of token-mean are no more bases of a comparison."""
    lines = gains(0.1, 0.3, 0.2) + [line(start=i, a=0.9) for i in range(3, 9)]
    assert "(token-mean, a = 50.0%)" in said(lines) and "over 3 of 16 [bases]" in said(lines)
    lines += gains(0.1, 0.3, arm="NGDiff")[2:]
    text = said(lines)
    assert "over 2 to 3 of 16 [bases]" in text and ", their number in brackets (" in text
    assert "| fixed 0.5 | +20.0 ±24.8 (3) |" in text and "| NGDiff | +20.0 ±127.1 (2) |" in text


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
    assert "to see a little, here an exact a_p of 10 to 16%, and not yet" in said(
        [*ends, *gains(0.1, 0.3)]
    )
    assert "here an exact a_p of 10% (measured of 1)" in said([ends[1], *gains(0, 0.3)])
    assert "here an exact" not in said(gains(0.1, 0.3))


def test_what_was_predicted_to_be_alike_and_not_shown_to_be_is_said():
    """Neither before all bases have their runs, nor where it was shown or is another."""

    def of(gain, n=16):
        plain = [line(arm, i, a=0.5) for arm in ("token-mean", "NGDiff") for i in range(n)]
        return said(plain + [line("calibrated", i, a=0.5 + gain(i)) for i in range(n)])

    wide = of(lambda i: 0.01 + 0.1 * (-1) ** i)
    assert "equal within ±2 points: calibrated against NGDiff in a (+1.0 ±5.5)." in wide
    assert "Undecided" not in of(lambda i: 0.01 + 0.1 * (-1) ** i, 15)
    assert "Undecided" not in of(lambda i: 0.001 * (-1) ** i), "it was shown"
    assert "Undecided" not in of(lambda i: 0.2 + 0.01 * (-1) ** i), "they differ"


def test_perceptions_share_of_the_tokens_is_that_of_the_lines():
    lines = gains(0.1, 0.3)
    assert "of the tokens" not in said(lines)
    lines[0]["figures"]["token_share_p.1"] = 0.21
    assert "one task, with perception 21% of the tokens, trained" in said(lines)


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
