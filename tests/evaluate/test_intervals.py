"""Facts about intervals where nothing varies: they have the width that is not known."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from answerers import by, diagnosed
from scipy import stats

from percbal.evaluate.intervals import mean_interval, paired_difference, wilson_interval
from percbal.report.findings import told


def exact(n):
    """Clopper and Pearson's upper bound of a share of which none of n was seen."""
    return stats.binomtest(0, n).proportion_ci(method="exact").high


@pytest.mark.parametrize("n", [1, 2, 6, 256])
@pytest.mark.parametrize("value", [0.0, 0.25, 1.0])
def test_equal_values_bound_the_mean_by_those_that_were_not_seen(n, value):
    """At worst as many as may have been missed are all 0, or all 1."""
    wanted = value, value * (1 - exact(n)), value + (1 - value) * exact(n)
    assert mean_interval([value] * n) == pytest.approx(wanted)


@pytest.mark.parametrize("n", [1, 2, 6, 256])
@pytest.mark.parametrize("change", [0.0, 1.0, -1.0, 0.5])
def test_equal_differences_bound_theirs(n, change):
    """The missed ones may be -1 or 1."""
    base = np.full(n, max(-change, 0.0))
    s = exact(n)
    wanted = change, change - s * (change + 1), change + s * (1 - change)
    assert paired_difference(base + change, base) == pytest.approx(wanted)


@pytest.mark.parametrize("n", [5, 64])
@pytest.mark.parametrize("mean", [0.01, 0.1, 0.3, 0.9])
def test_a_mean_outside_of_the_bound_is_rarely_seen_as_equal_values(n, mean):
    """For 0 or 1, where the chance is largest: all equal, and the bound misses the mean."""
    missed = sum(
        chance
        for value, chance in ((0.0, (1 - mean) ** n), (1.0, mean**n))
        if not mean_interval([value] * n).low <= mean <= mean_interval([value] * n).high
    )
    assert missed <= 0.025


def test_they_are_as_wide_as_of_one_completion():
    low, high = mean_interval([0.0] * 256)[1:]
    assert low == 0 and high == pytest.approx(wilson_interval(0, 256).high, rel=0.05)


def test_what_varies_and_what_is_no_share_is_as_before():
    """The numbers of studies, of several runs, among them."""
    each = np.linspace(0, 1, 50)
    assert mean_interval(each).high - each.mean() == pytest.approx(0.08, abs=0.01)
    assert mean_interval([3.0, 3.0]) == (3, 3, 3)
    assert paired_difference([3.0, 3.0], [0.0, 0.0]) == (3, 3, 3)
    assert paired_difference([[1, 0], [1, 0]], [[1, 0], [1, 0]]) == (0, 0, 0)


def test_a_handful_of_right_answers_is_not_clearly_better_than_none():
    """One of 256 right when told, and nothing by itself, each in 4 samples of 32 instances."""
    solver = by(lambda q, way: q.response if way == "told" and q.index + q.sample < 4 else "no")
    result = diagnosed(solver, n=32, samples=4, ways=("image", "told"))
    a, a_r = result.accuracies["a"], result.accuracies["a_r"]
    assert a.value == 0 and a.high == pytest.approx(exact(32)) and 0 < a_r.low < a.high
    at_4 = result.pass_at_k["a"]["4"]
    assert (at_4.value, at_4.low, at_4.high) == pytest.approx((0, 0, exact(32)))
    shown = SimpleNamespace(data=result.to_dict(), trials=result.trials)
    assert "not clearly" in told(shown)
