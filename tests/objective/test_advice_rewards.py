"""Facts about what is said of another reward, as a perception reward beside the outcome."""

from __future__ import annotations

import math

import pytest
import torch

from percbal.objective import criterion
from percbal.objective.advice import advise
from percbal.objective.advice_rewards import Candidate, advise_reward
from percbal.objective.measured import Between, Measured

R = criterion.chain_correlation(0.3, 0.5)
FOUND = Measured(a=0.15, a_p=0.3, after_right=0.5, r=R)


def said(truth, outcome, graded=False, half=0.05, groups=100):
    between = Between(truth, truth - half, truth + half, groups)
    return advise_reward(FOUND, Candidate("it", between, outcome, graded))


@pytest.mark.parametrize(
    "sentence, told",
    [
        (said(0.9, 0.9 * R), "can help"),
        (said(0.9, 0.9 * R, half=0.95), "may help or not. Its r with perception cannot be told"),
        (said(0.9, 0.9 * R, groups=7), "may help or not. Its r with perception cannot be told"),
        (said(0.08, 0.5), "says hardly anything about perception that the outcome does not"),
        (said(0.02, 0.0, half=0.1), "cannot be told from 0"),
        (said(-0.5, -0.2), "pays for wrong perceptions: it can harm"),
        (said(-0.5, -0.2, half=0.6), "cannot be told from 0"),
        (said(math.nan, 0.1), "nothing can be said"),
    ],
)
def test_rewards_are_told_apart(sentence, told):
    assert told in sentence
    if "cannot be told" in sentence:
        assert "times the speed" not in sentence and "harm" not in sentence


def test_an_exact_reward_that_is_mostly_noise_is_warned_of():
    noise = "noise has cost more perception than such a reward taught"
    assert noise in said(0.2, 0.01) and "hardly anything" in said(0.2, 0.01)
    assert noise in said(0.2, -0.3) and "can help" in said(0.2, -0.3)
    assert noise not in said(0.27, 0.01), "its r can be 0.3"
    assert noise not in said(0.2, 0.01, groups=7) and noise not in said(0.2, 0.01, graded=True)


def test_nothing_is_said_where_the_outcome_itself_says_nothing():
    found = Measured(a=0.15, a_p=0.3, after_right=0.3, r=0.4, wrong_success=0.4)
    one = Candidate("it", Between(0.9, 0.8, 0.95, 100), 0.4, graded=False)
    assert "nothing can be said" in advise_reward(found, one)


def test_a_dense_reward_is_not_judged_by_its_correlation_with_wholly_right_perceptions():
    """Sixteen parts of 0.84 each: r is 0.45, and by a logit each 2.2 times the exact signal."""
    parts, cell = 16, 0.84
    right = torch.arange(parts + 1, dtype=torch.float64)
    chance = torch.tensor(
        [math.comb(parts, k) * cell**k * (1 - cell) ** (parts - k) for k in range(parts + 1)],
        dtype=torch.float64,
    )

    def mean(x):
        return float((chance * x).sum())

    def signal(reward):  # of all parts' logits, which move alike
        centred = reward - mean(reward)
        return mean(centred * (right - parts * cell)) / math.sqrt(mean(centred**2))

    dense, exact = right / parts, (right == parts).double()
    p, factor = mean(exact), signal(dense) / signal(exact)
    assert factor == pytest.approx(2.2, abs=0.05)
    r = criterion.chain_correlation(p, 0.7)
    found = Measured(a=0.7 * p, a_p=p, after_right=0.7, r=r)
    one = Candidate("perception_f1", Between(1 / factor, 0.4, 0.5, 100), r / factor, graded=True)
    sentence = advise_reward(found, one)
    assert "r 0.45 with perception" in sentence
    assert "is graded" in sentence and "can understate" in sentence
    assert "hardly anything" not in sentence and "times the speed" not in sentence
    assert any("A dense reward tells" in s for s in advise(found).sentences)
