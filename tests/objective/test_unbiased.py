"""NGDiff by unbiased squared norms: what is averaged, the floor, and what a checkpoint keeps."""

from __future__ import annotations

import json
import math

import pytest
import torch

from percbal.objective.balance import Seen
from percbal.objective.ngdiff import NGDiff
from percbal.objective.unbiased import FLOOR, UnbiasedNGDiff

COUNTS = torch.tensor([1, 1])


def show(balance: UnbiasedNGDiff, squares: list[float], gradient: tuple = (1.0, 1.0)) -> float:
    """One step; returns lambda."""
    nothing = torch.zeros(len(squares))
    seen = Seen(0, COUNTS, nothing, nothing, torch.tensor(gradient), squares=torch.tensor(squares))
    balance.observe(seen)
    return float(balance.weights(COUNTS)[0])


def test_the_mean_is_that_of_the_squares_and_may_take_in_negative_ones():
    balance = UnbiasedNGDiff(decay=0.75)
    assert show(balance, [4.0, 1.0]) == pytest.approx(1 / 3)
    # 0.75 * 4 - 0.25 * 8 = 1; the log of the negative one would be none
    assert show(balance, [-8.0, 1.0]) == pytest.approx(1 / 2)


def test_a_mean_below_the_floor_counts_as_the_floor():
    balance = UnbiasedNGDiff()
    assert show(balance, [-1.0, 4.0], (5.0, 3.0)) == pytest.approx(2 / (2 + 5 * FLOOR))


def test_a_segment_without_an_estimate_keeps_its_mean_and_its_weight():
    balance = UnbiasedNGDiff(decay=0.5)
    lam = show(balance, [4.0, 1.0])
    assert show(balance, [math.nan, 1.0], (0.0, 1.0)) == lam
    assert show(balance, [8.0, 1.0]) == pytest.approx(1 / (1 + 6**0.5))


def test_a_checkpoint_keeps_the_squares():
    ours, theirs = UnbiasedNGDiff(decay=0.9), UnbiasedNGDiff(decay=0.9)
    theirs.load_state_dict(json.loads(json.dumps(ours.state_dict())))
    assert show(ours, [3.0, math.nan]) == show(theirs, [3.0, math.nan]) == 0.5
    show(ours, [3.0, 0.5])
    theirs.load_state_dict(json.loads(json.dumps(ours.state_dict())))
    assert float(theirs.weights(COUNTS)[0]) == float(ours.weights(COUNTS)[0])
    assert show(theirs, [1.0, 2.0]) == show(ours, [1.0, 2.0])


def test_the_checkpoint_of_another_balance_is_refused():
    with pytest.raises(ValueError, match="was not trained with ngdiff_unbiased: it holds no squar"):
        UnbiasedNGDiff().load_state_dict(NGDiff().state_dict())
