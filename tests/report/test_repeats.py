"""How many runs were due to be made twice, how many were, and what the unequal ones differ in."""

from __future__ import annotations

import pytest
from study_lines import SFT, line

from percbal.report.evidence_runs import runs_made
from percbal.study.lines import is_repeated

DUE = [x for x in (line(start=i, a=0.5) for i in range(200)) if is_repeated(x)][:2]
DUE = [{**x, "day": "2026-11-28"} for x in DUE]


def again(run, equal=True, weights=True, **changed):
    return {**run, "kind": "repeat", "equal": {"figures": equal, "weights": weights}, **changed}


def said(*lines):
    return runs_made(SFT, [*DUE, *lines], 20)


def test_a_repeat_counts_once_for_its_run():
    """A merge brings the same one from two machines, of which the day differs."""
    assert "2 are due, 0 were made again, and 0 had all" in said()
    twice = [again(DUE[0]), again(DUE[0], day="2026-11-29")]
    assert "2 are due, 1 were made again, and 1 had all figures equal bit for bit." in said(*twice)
    assert "1 were made again, and 0 had all" in said(*twice, again(DUE[0], equal=False))


def test_equal_ones_by_other_code_are_counted():
    """A change of percbal's code between the runs of a start did not change this figure."""
    old = again(DUE[0], versions={**DUE[0]["versions"], "sources": "old"})
    assert "had all figures equal bit for bit, 1 of these by other code of percbal" in said(old)
    unequal = {**old, "equal": {"figures": False, "weights": True}}
    assert "by other code" not in said(unequal) and "by other code" not in said(again(DUE[0]))


@pytest.mark.parametrize("changed", [{"plan": "old"}, {"start": "base x"}, {"rate": 0.1}])
def test_a_repeat_of_another_run_is_none_of_these(changed):
    assert "2 are due, 0 were made again" in said(again(DUE[0], **changed))


def test_what_several_kinds_of_machines_trained_is_not_due():
    """No machine can repeat it, so that it would stay due for ever."""
    also = {"machine": {**DUE[0]["machine"], "also": [["R", "f", 2, "2"]]}}
    text = runs_made(SFT, [{**DUE[0], **also}, DUE[1]], 20)
    assert "1 are due, 0 were made again" in text
    assert "Not due, since several kinds of machines trained them: 1." in text
    assert "Not due" not in said()


@pytest.mark.parametrize(
    "versions, weights, why",
    [
        ({"torch": "2"}, False, "other weights, the same versions"),
        ({"torch": "3"}, True, "the same weights, other versions of torch"),
        (
            {"torch": "3", "sources": "s"},
            True,
            "the same weights, other versions of sources, torch",
        ),
    ],
)
def test_of_an_unequal_repeat_it_is_said_what_else_differed(versions, weights, why):
    run = again(DUE[0], versions=versions, equal=False, weights=weights)
    text = said(run, {**run, "day": "2026-11-29"}, again(DUE[1]))
    assert "2 were made again, and 1 had all figures equal bit for bit. Unequal: sft-s" in text
    assert text.count(f"/ token-mean / {DUE[0]['seed']} / None ({why}).") == 1
