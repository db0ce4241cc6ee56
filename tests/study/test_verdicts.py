"""What is counted of a study that grows, and verdicts of signs that are no plus."""

from __future__ import annotations

from dataclasses import replace

import pytest
from study_lines import SFT, gains, line

from percbal.report.evidence_contrasts import predictions
from percbal.report.evidence_summary import overview, summary
from percbal.study.contrasts import effects

SURE, OPEN = "fixed 0.5 minus token-mean in a", "NGDiff minus token-mean in a"


def family(*names):
    """These as the primary contrasts, each with a predicted plus and four starts."""
    contrasts = tuple(
        replace(each, primary=True, predicted="+", chance=0.5)
        for each in SFT.contrasts
        if each.name in names
    )
    return replace(SFT, contrasts=contrasts, planned={"sft-sudoku": {"arms": [], "starts": 4}})


def test_primary_contrasts_are_counted_when_all_of_them_are_complete():
    """The significant one has its verdict at once, the other waits: a tally of what is settled
    would count successes alone."""
    said, sure = family(SURE, OPEN), gains(0.1, 0.11, 0.12, 0.1)
    null = [line("NGDiff", i, a=0.48 + (-1) ** i / 9) for i in range(4)]
    early = effects(said, sure + null[:3])
    assert [each.verdict() for each in early] == ["reproduced", "not complete yet"]
    assert [each.foretold() for each in early] == ["open", "open"] and predictions(early) == ""
    counts = "| sft | 2 (2 primary) |"
    one = "1 (1 primary)"
    assert f"{counts} {one} | 0 | 0 | 0 | 0 | 0 | {one} | 0 of 0 |" in overview([(said, early)])
    assert "*waiting* until all primary ones" in overview([(said, early)])
    assert "verdicts on all contrasts: 1 waiting, 1 not complete yet" in summary([(said, early)])
    assert "NGDiff minus token-mean: a +1.7 ±31.9 (so far, 3 of" in summary([(said, early)])
    late = effects(said, sure + null)
    assert [each.foretold() for each in late] == ["yes", "no"]
    assert "Of 2 predicted signs 1 came" in predictions(late)
    both = "2 (2 primary)"
    assert f"{counts} {both} | {one} | 0 | {one} | 0 | 0 | 1 of 2 |" in overview([(said, late)])
    assert "waiting" not in overview([(said, late)])
    assert "1 of 2 primary contrasts differ significantly" in summary([(said, late)])
    assert "1 of the 1 (of 2) complete primary contrasts differ s" in summary([(said, early)])
    none = summary([(said, effects(said, []))])
    assert "none of the 2 primary contrasts is complete, so none is tested yet" in none


def test_the_summary_keeps_the_name_of_a_contrast_whose_end_is_no_figure():
    names = (
        "slope of the gain in a_p over r",
        "the larger minus the other, in a_p",
        "x in greedy a",
    )
    said = family(SURE)
    said = replace(said, contrasts=tuple(replace(said.contrasts[0], name=n) for n in names))
    text = summary([(said, effects(said, gains(0.1, 0.2)))])
    assert "  - slope of the gain in a_p over r: +" in text
    assert "  - the larger minus the other: a_p +" in text and "  - x: greedy a +" in text


def test_a_contrast_that_is_not_corrected_waits_for_no_other():
    said = family(SURE, OPEN)
    alone = replace(said.contrasts[0], primary=False)
    found = effects(replace(said, contrasts=(alone, said.contrasts[1])), gains(*[0.1, 0.11] * 2))
    assert found[0].foretold() == "yes"
    assert "| 1 (0 primary) | 1 (0 primary) | 0 | 0 | 0 | 0 | 1 of 1 |" in overview([(said, found)])


@pytest.mark.parametrize(
    "paper, values, verdict",
    [
        ("+", (0.1, 0.11, 0.12, 0.1), "reproduced"),
        ("-", (0.1, 0.11, 0.12, 0.1), "reversed"),
        ("+", (-0.1, -0.11, -0.12, -0.1), "reversed"),
        ("-", (0.1, -0.05, 0.1, 0.1), "not reproduced"),
        ("0", (0.001, -0.001, 0.0, 0.002), "reproduced"),
        ("0", (0.008, 0.009, 0.008, 0.007), "reproduced"),  # significant, and as good as 0
        ("0", (0.1, 0.11, 0.12, 0.1), "not reproduced"),
        ("0", (0.1, -0.05, 0.1, 0.1), "not reproduced"),
        ("0", (-0.1, 0.05, -0.1, -0.1), "not reproduced"),
    ],
)
def test_the_verdict_is_that_of_the_papers_sign(paper, values, verdict):
    """One that is significantly the opposite is more than not reproduced; no effect is reproduced
    where the interval shows it, and has no direction."""
    said = family(SURE)
    signed = replace(said.contrasts[0], paper=paper)
    (found,) = effects(replace(said, contrasts=(signed,)), gains(*values))
    assert found.verdict() == verdict


def test_the_overview_counts_what_is_reversed():
    said = family(SURE)
    found = effects(said, gains(-0.1, -0.11, -0.12, -0.1))
    assert "| reversed | no finding of the paper | predicted rightly |" in overview([(said, found)])
    assert "| 0 | 0 | 0 | 1 (1 primary) | 0 | 0 of 1 |" in overview([(said, found)])
