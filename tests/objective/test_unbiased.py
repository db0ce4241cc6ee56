"""NGDiff by unbiased squared norms: what is averaged, the floor, and what a checkpoint keeps."""

from __future__ import annotations

import itertools
import json

import pytest
import torch

from percbal.objective.balance import Seen
from percbal.objective.ngdiff import NGDiff
from percbal.objective.unbiased import FLOOR, UnbiasedNGDiff, sums_of_pairs

COUNTS = torch.tensor([1, 1])
SINCE = ((0.9, 20), (0.9, 100), (0.99, 100))  # decay, and steps since a norm fell


def show(
    balance: UnbiasedNGDiff,
    squares: list[float],
    gradient: tuple[float, float] = (1.0, 1.0),
    share: tuple[float, float] = (0.5, 0.5),
) -> float:
    """One step, by its estimates and its sums of `p_i p_j`; returns lambda."""
    nothing, of_ones = torch.zeros(len(squares)), torch.tensor(share)
    pairs = torch.stack((torch.tensor(squares) * of_ones, of_ones))
    balance.observe(Seen(0, COUNTS, nothing, nothing, torch.tensor(gradient), pairs=pairs))
    return float(balance.weights(COUNTS)[0])


def test_the_mean_is_that_of_the_squares_and_may_take_in_negative_ones():
    balance = UnbiasedNGDiff(decay=0.75)
    assert show(balance, [8.0, 1.0]) == pytest.approx(1 / (1 + 8**0.5))
    # (0.75 * 8 - 1 * 2) / 1.75 = 4 / 1.75; the log of the negative one would be none
    assert show(balance, [-2.0, 1.0]) == pytest.approx(1 / (1 + (4 / 1.75) ** 0.5))


def test_the_first_estimate_weighs_no_more_than_the_next():
    balance = UnbiasedNGDiff(decay=0.99)
    show(balance, [-3.0, 1.0])
    for _ in range(19):
        lam = show(balance, [1.0, 1.0])
    # of 20 steps of nearly equal weights: (19 - 3) / 20
    assert lam == pytest.approx(1 / (1 + 0.8**0.5), abs=0.02)


def test_a_step_weighs_by_the_pairs_that_it_has():
    """Two parts at 99 and 1 of the tokens have 1 / 25 of those of two equal ones."""
    balance = UnbiasedNGDiff(decay=0.5)
    show(balance, [1.0, 1.0])
    uneven = 1 - 0.99**2 - 0.01**2
    expected = (0.25 * 1 + uneven * 9) / (0.25 + uneven)  # 0.25 is what is left of 0.5
    lam = show(balance, [9.0, 1.0], share=(uneven, 0.5))
    assert lam == pytest.approx(1 / (1 + expected**0.5))


def test_a_mean_of_squares_lags_behind_norms_that_fall():
    """docs/balance.md has these numbers: perception's norm falls from 10 to 1, reasoning's is 1."""
    after = {}
    for kind, (decay, steps) in itertools.product((UnbiasedNGDiff, NGDiff), SINCE):
        balance = kind(decay=decay)
        for norm in [10.0] * 1000 + [1.0] * steps:
            lam = show(balance, [norm**2, 1.0], (norm, 1.0))
        after[kind, decay, steps] = round(lam, 2)
    assert [after[UnbiasedNGDiff, *at] for at in SINCE] == [0.22, 0.50, 0.14]
    assert [after[NGDiff, *at] for at in SINCE] == [0.43, 0.50, 0.30]


def test_what_no_step_has_shown_is_unknown():
    balance = UnbiasedNGDiff(decay=0.9)
    show(balance, [3.0, 0.0], share=(0.5, 0.0))
    assert balance.unknown() == [1]
    show(balance, [3.0, -1.0])
    assert balance.unknown() == []


def test_a_decay_of_nothing_is_warned_of(caplog):
    UnbiasedNGDiff(decay=0.9)
    assert not caplog.messages
    UnbiasedNGDiff()
    assert "ngdiff_unbiased with ngdiff_decay=0 follows each step's noise" in caplog.text


def test_fewer_than_two_parts_have_no_pairs():
    whole, tokens = torch.tensor([25.0, 9.0, 0.0]), torch.tensor([7.0, 3.0, 0.0])
    pairs = sums_of_pairs(whole, torch.tensor([17.0, 9.0, 0.0]), tokens, torch.tensor([25.0, 9, 0]))
    assert pairs[:, 0].tolist() == pytest.approx([8.0, 1 - 25 / 49])
    assert pairs[:, 1:].tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_a_mean_below_the_floor_counts_as_the_floor():
    balance = UnbiasedNGDiff()
    assert show(balance, [-1.0, 4.0], (5.0, 3.0)) == pytest.approx(2 / (2 + 5 * FLOOR))


def test_a_segment_without_an_estimate_keeps_its_mean_and_its_weight():
    balance = UnbiasedNGDiff(decay=0.5)
    lam = show(balance, [4.0, 1.0])
    assert show(balance, [0.0, 1.0], (0.0, 1.0), (0.0, 0.5)) == lam
    # 4 has the weight 0.5 * 0.5, 7 that of 0.5, of which the step without perception took nothing
    assert show(balance, [7.0, 1.0]) == pytest.approx(1 / (1 + 6**0.5))


def test_a_checkpoint_keeps_the_sums():
    ours, theirs = UnbiasedNGDiff(decay=0.9), UnbiasedNGDiff(decay=0.9)
    theirs.load_state_dict(json.loads(json.dumps(ours.state_dict())))
    one_alone = ([3.0, 0.0], (1.0, 1.0), (0.5, 0.0))
    assert show(ours, *one_alone) == show(theirs, *one_alone) == 0.5
    show(ours, [3.0, 0.5])
    theirs.load_state_dict(json.loads(json.dumps(ours.state_dict())))
    assert float(theirs.weights(COUNTS)[0]) == float(ours.weights(COUNTS)[0])
    assert show(theirs, [1.0, 2.0]) == show(ours, [1.0, 2.0])


def test_the_checkpoint_of_another_balance_is_refused():
    with pytest.raises(ValueError, match="no sums over pairs of micro-batches, which ngdiff_unb"):
        UnbiasedNGDiff().load_state_dict(NGDiff().state_dict())
