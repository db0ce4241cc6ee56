"""Facts about the controllers of the segment weights."""

from __future__ import annotations

import json

import pytest
import torch

from percbal.objective.balance import Fixed, TokenMean
from percbal.objective.ngdiff import NGDiff

COUNTS = torch.tensor([3, 9])


def lam(balance, counts=COUNTS) -> float:
    weights = balance.weights(counts)
    assert float(weights.sum()) == pytest.approx(1.0)
    return float(weights[0])


def test_token_mean_weighs_by_token_share():
    assert TokenMean().weights(COUNTS).tolist() == [0.25, 0.75]


def test_token_mean_of_nothing_is_zero():
    assert TokenMean().weights(torch.zeros(2, dtype=torch.int64)).tolist() == [0.0, 0.0]


def test_fixed_ignores_counts_even_where_a_segment_is_empty():
    assert Fixed(0.3).weights(COUNTS).tolist() == pytest.approx([0.3, 0.7])
    assert Fixed(0.3).weights(torch.tensor([0, 9])).tolist() == pytest.approx([0.3, 0.7])


def test_ngdiff_gives_both_gradients_the_same_norm():
    balance = NGDiff()
    norms = torch.tensor([6.0, 2.0])
    balance.update(norms)
    weights = balance.weights(COUNTS)
    assert float(weights[0] * norms[0]) == pytest.approx(float(weights[1] * norms[1]))
    assert lam(balance) == pytest.approx(2 / 8)


def test_ngdiff_starts_at_its_lambda():
    assert lam(NGDiff(lam=0.2)) == pytest.approx(0.2)


@pytest.mark.parametrize("norms", [[0.0, 2.0], [2.0, 0.0], [float("nan"), 1.0], [float("inf"), 1]])
def test_ngdiff_does_not_move_without_both_gradients(norms):
    balance = NGDiff(lam=0.2)
    balance.update(torch.tensor(norms))
    assert lam(balance) == pytest.approx(0.2)
    balance.update(torch.tensor([1.0, 3.0]))
    balance.update(torch.tensor(norms))
    assert lam(balance) == pytest.approx(0.75)


def test_ngdiff_decay_averages_log_odds():
    balance = NGDiff(decay=0.5)
    balance.update(torch.tensor([1.0, 1.0]))
    balance.update(torch.tensor([16.0, 1.0]))
    assert lam(balance) == pytest.approx(1 / (1 + 4))  # log-odds half way from 0 to -log 16


def test_ngdiff_stays_inside_its_bounds():
    balance = NGDiff(lam_min=0.3, lam_max=0.6)
    balance.update(torch.tensor([100.0, 1.0]))
    assert lam(balance) == pytest.approx(0.3)
    balance.update(torch.tensor([1.0, 100.0]))
    assert lam(balance) == pytest.approx(0.6)


@pytest.mark.parametrize("updates", [0, 2])
def test_ngdiff_continues_from_its_saved_state(updates):
    ours, other = NGDiff(lam=0.3, decay=0.9), NGDiff(lam=0.3, decay=0.9)
    for _ in range(updates):
        ours.update(torch.tensor([1.0, 4.0]))
    other.load_state_dict(json.loads(json.dumps(ours.state_dict())))
    for balance in (ours, other):
        balance.update(torch.tensor([5.0, 4.0]))
    assert lam(ours) == lam(other)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Fixed(1.5), r"lam must be in \[0, 1\], got 1.5"),
        (lambda: NGDiff(lam=-1), r"lam must be in \[0, 1\], got -1"),
        (lambda: NGDiff(decay=1.0), r"ngdiff_decay must be in \[0, 1\), got 1.0"),
        (lambda: NGDiff(lam_min=0.7, lam_max=0.2), "0 <= min <= max <= 1, got 0.7 and 0.2"),
    ],
)
def test_impossible_options_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
