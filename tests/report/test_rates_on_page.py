"""The page takes the runs of an arm at one rate, that which its tuning chose."""

from __future__ import annotations

import pytest
from study_lines import line

from percbal.report.evidence_rates import rates, refuse_other_rates

WIDER = [3e-3, 6e-3, 1.2e-2]


def run(rate, start=1, arm="token-mean", study="sft-sudoku"):
    return {**line(arm, start, study, a=0.5), "rate": rate}


def choice(rate, arm="token-mean", grid=WIDER):
    means = {str(each): 0.5 for each in grid}
    names = {"kind": "choice", "study": "sft-sudoku", "arm": arm, "by": "a", "seeds": [91]}
    return {**names, "rate": rate, "grid": grid, "means": means}


def test_runs_of_one_arm_at_two_rates_are_refused():
    refuse_other_rates([run(6e-3), run(6e-3, 2), run(3e-3, arm="NGDiff")])
    for two in (run(3e-3, 2), run(None, 2), run(3e-3)):
        with pytest.raises(
            ValueError, match="sft-sudoku: token-mean was run at several rates, 0.0"
        ):
            refuse_other_rates([run(6e-3), two])
    # what tunes is at many
    refuse_other_rates([run(6e-3), {**run(3e-3), "kind": "tuning"}])


def test_another_rate_than_the_tuning_chose_is_refused():
    """Of a grid that was widened the last choice, in whatever order a merge has them."""
    two = [choice(3e-3), choice(6e-3, grid=WIDER[1:])]
    for chosen in (two, two[::-1]):
        refuse_other_rates([*chosen, run(3e-3)])
        assert "| token-mean | 50.0 | 50.0 | 50.0 | 0.003 |" in rates(chosen)
        widened = "The grid was 0.006, 0.012 first, and was widened to 0.003, 0.006, 0.012"
        assert f"{widened} before any result." in rates([*chosen, run(3e-3)])
        assert f"{widened} when some results were there." in rates([run(3e-3), *chosen])
        with pytest.raises(ValueError, match="token-mean was run at 0.006, and its tuning chose 0"):
            refuse_other_rates([*chosen, run(6e-3)])
    with pytest.raises(ValueError, match="at None, and its tuning chose 0.003"):
        refuse_other_rates([choice(3e-3), run(None)])
    refuse_other_rates([choice(3e-3), {**run(None, arm="start")}])


def test_each_base_of_the_tuning_stands_beside_the_mean():
    """Of the bases and the rates that were chosen from."""
    tuned = [
        {**line(start=seed, a=a), "kind": "tuning", "rate": rate}
        for seed, rate, a in ((91, 3e-3, 0.4), (92, 3e-3, 0.6), (93, 3e-3, 0.9), (91, 6e-3, 0.2))
    ]
    said = rates([*tuned, run(3e-3), {**choice(3e-3), "seeds": [91, 92]}])
    assert "chosen by mean a over 2 bases that no result uses" in said and "widened" not in said
    assert "| token-mean | 50.0 (40, 60) | 50.0 (20) | 50.0 | 0.003 |" in said


@pytest.mark.parametrize(
    "study, arm", [("sft-lambda", "fixed 0.95"), ("sft-sudoku-long", "fixed 0.5")]
)
def test_studies_that_take_the_rates_of_another_are_held_to_those(study, arm):
    refuse_other_rates([choice(3e-3, "fixed 0.5"), run(3e-3, arm=arm, study=study)])
    with pytest.raises(ValueError, match=f"{study}: {arm} was run at 0.006, and its tuning chose"):
        refuse_other_rates([choice(3e-3, "fixed 0.5"), run(6e-3, arm=arm, study=study)])
