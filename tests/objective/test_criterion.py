"""Facts about the theory of docs/theory.md: it says what the model behind it does, by the
trainer's own advantages."""

from __future__ import annotations

import math

import population
import pytest
import torch

from percbal.objective import criterion
from percbal.objective.credit import group_advantages
from percbal.objective.criterion import Reward
from percbal.study.limits import outcome_left

P = (0.05, 0.2, 0.5, 0.7, 0.8, 0.95)
Q = (0.1, 0.25, 0.5, 0.9)
TOLERANCE = 0.01  # credit.py adds 1e-4 to a standard deviation of some 0.07


def spread(p):
    return math.sqrt(p * (1 - p))


def known(p, q, plasticity=1.0):
    r = criterion.chain_correlation(p, q)
    return criterion.share_of(p * q * (1 - p), p * q * (1 - q), plasticity), r


def slopes(p, q):
    """C_p and C_r of (P1)."""
    return p * q * (1 - p), p * q * (1 - q)


def ratio(p, q, alpha):
    return criterion.weight_ratio(alpha, spread(p), spread(p * q))


@pytest.mark.parametrize("plasticity", [0.25, 1.0, 4.0])
@pytest.mark.parametrize("p", P)
def test_speeds_are_those_of_the_model(p, plasticity):
    for q in Q:
        rollouts, (w, r) = population.one_large_group(p, q), known(p, q, plasticity)
        base = population.growth(rollouts, p, q, "scalar", 0.0, plasticity)
        for credit, speed in (
            ("scalar", criterion.mixed_speed),
            ("segment", criterion.segment_speed),
        ):
            for alpha in (0.1, 0.6, 1.0):
                seen = population.growth(rollouts, p, q, credit, alpha, plasticity) / base
                assert speed(w, r, ratio(p, q, alpha)) == pytest.approx(seen, abs=TOLERANCE)


@pytest.mark.parametrize("plasticity", [0.25, 1.0, 4.0])
def test_a_small_share_helps_where_the_margin_and_the_break_even_say(plasticity):
    helped = 0
    for p in P:
        for q in Q:
            rollouts, (w, r) = population.one_large_group(p, q), known(p, q, plasticity)
            low, high = (
                population.growth(rollouts, p, q, "scalar", alpha, plasticity)
                for alpha in (1e-3, 2e-3)
            )
            helps = high > low
            assert helps == (w > r * r) == (plasticity > criterion.break_even(*slopes(p, q), r))
            assert criterion.break_even(*slopes(p, q), r) == pytest.approx(q * (1 - q) / (1 - p))
            slope = math.log(high / low) / 1e-3  # d log(da/dt) / d alpha
            assert slope == pytest.approx((w - r * r) / q, abs=0.03 + 0.01 * abs(slope))
            helped += helps
    assert 0 < helped < len(P) * len(Q)


def test_a_noisy_verdict_is_a_reward_with_its_two_correlations():
    p, q, flipped = 0.3, 0.5, 0.2
    exact = population.one_large_group(p, q, 2000)
    each = torch.arange(10) < round(10 * flipped)  # of ten copies of every rollout
    answer, perception = (x.repeat_interleave(10) for x in exact[:2])
    noisy = torch.where(each.repeat(2000), 1 - perception, perception)
    weight = torch.full_like(answer, 1 / len(answer))
    rollouts = population.Rollouts(answer, perception, weight, len(answer))
    truth, outcome = (float(torch.corrcoef(torch.stack((noisy, x)))[0, 1]) for x in rollouts[1::-1])
    (w, r), reward = known(p, q), Reward(truth, outcome)
    assert outcome == pytest.approx(r * truth)
    base = population.growth(rollouts, p, q, "scalar", 0.0)
    x = criterion.weight_ratio(0.4, float(noisy.std()), spread(p * q))
    for credit, speed in (
        ("scalar", criterion.mixed_speed),
        ("segment", criterion.segment_speed),
    ):
        seen = population.growth(rollouts, p, q, credit, 0.4, reward=noisy) / base
        assert speed(w, r, x, reward) == pytest.approx(seen, abs=TOLERANCE)
    for each in (reward, None):
        x, best = criterion.best_mix(w, r, each)
        tried = [criterion.mixed_speed(w, r, x * step, each) for step in (0.9, 1, 1.1)]
        assert best == pytest.approx(tried[1]) and max(tried) == tried[1]
        alone = [criterion.segment_speed(w, r, x / 20, each) for x in range(400)]
        assert criterion.best_segment(w, r, each) >= max(alone) - 1e-12
    assert criterion.best_segment(w, r, Reward(0.9 * outcome * r, outcome)) == 1.0


@pytest.mark.parametrize(
    ("w", "r", "reward", "x"),
    [
        (0.9, 0.3, Reward(0.8, 0.7), math.inf),  # alone it has 2.4, times 0.7 above 1
        (0.5, 0.3, Reward(0.3, 1.0), 0.0),  # the outcome itself: 1 is what it does for a
        (0.9, 0.3, Reward(0.5, 0.15), 1.35 / 0.775),
        (0.2, 0.5, Reward(0.6, 0.3), 0.0),
        (0.5, 0.5, Reward(0.9, -0.6), 0.8 / 1.12),  # it pays wrong reasoning
    ],
)
def test_the_best_mix_is_a_supremum_where_no_mixture_is_the_best(w, r, reward, x):
    found, best = criterion.best_mix(w, r, reward)
    assert found == pytest.approx(x)
    assert best == pytest.approx(criterion.mixed_speed(w, r, found, reward))
    steps = [*(i / 10 for i in range(200)), 1e3, 1e9, math.inf]
    tried = [criterion.mixed_speed(w, r, step, reward) for step in steps]
    assert max(tried) <= best + 1e-12 and best == pytest.approx(max(tried), rel=1e-3)
    alone = [criterion.segment_speed(w, r, step, reward) for step in steps]
    assert criterion.best_segment(w, r, reward) >= max(alone) - 1e-12


@pytest.mark.parametrize("paid", [(0.0, 1.0), (0.5, 0.5), (1.0, -1.0), (1.0, 0.3)])
def test_a_reward_that_also_says_something_about_the_reasoning(paid):
    """So much for the perception and so much for the answer; (0, 1) is the outcome itself."""
    for p, q in ((0.1, 0.3), (0.4, 0.8), (0.8, 0.2)):
        rollouts, (w, r) = population.one_large_group(p, q), known(p, q)
        reward = paid[0] * rollouts.perception + paid[1] * rollouts.answer
        truth, outcome = (
            float(torch.corrcoef(torch.stack((reward, x)))[0, 1]) for x in rollouts[1::-1]
        )
        base = population.growth(rollouts, p, q, "scalar", 0.0)
        for alpha in (0.4, 1.0):
            x = criterion.weight_ratio(alpha, float(reward.std()), spread(p * q))
            seen = population.growth(rollouts, p, q, "scalar", alpha, reward=reward) / base
            found = criterion.mixed_speed(w, r, x, Reward(truth, outcome))
            assert found == pytest.approx(seen, abs=TOLERANCE)
            assert paid != (0.0, 1.0) or found == pytest.approx(1)


def test_credit_by_segment_is_never_slower_than_the_outcome_or_the_same_on_all_tokens():
    for p in P:
        for q in Q:
            w, r = known(p, q)
            for alpha in (0.01, 0.3, 0.9, 1.0):
                x = ratio(p, q, alpha)
                assert criterion.segment_speed(w, r, x) >= 1 - 1e-12
                assert criterion.segment_speed(w, r, x) >= criterion.mixed_speed(w, r, x)
            for size in (2, 8):
                assert criterion.segment_speed_in_groups(w, r, p * q, p, size) >= 1


def test_reasonings_part_is_the_dilution_of_m14():
    for alpha in (0.2, 0.8):
        left = outcome_left(alpha, 0.4, 0.3, 0.5)
        x = criterion.weight_ratio(alpha, 0.3, 0.4)
        assert criterion.mixed_speed(0.0, 0.5, x) == pytest.approx(left)


@pytest.mark.parametrize("size", [8, 16])
def test_silent_groups_give_about_what_the_formulas_say_or_more(size):
    for p in (0.05, 0.3, 0.6, 0.9):
        for q in (0.1, 0.4):
            rollouts, (w, r) = population.every_group(p, q, size), known(p, q)
            answers, perceptions = (
                x.view(-1, size) for x in (rollouts.answer, rollouts.perception)
            )
            alone = (answers.std(1) == 0) & (perceptions.std(1) > 0)
            share = float(rollouts.weight.view(-1, size).sum(1)[alone].sum())
            base, mixed, segment = (
                population.growth(rollouts, p, q, credit, alpha)
                for credit, alpha in (("scalar", 0.0), ("scalar", 1e-3), ("segment", 1e-3))
            )
            paid = q * spread(p) * spread(p * q) / slopes(p, q)[1]
            whole = criterion.silent_gain_mixed(w, r, share, paid)
            assert mixed / base - 1 > 0.7 * whole - 0.01
            assert segment / base - 1 > 0.7 * criterion.silent_gain(w, r, share) - 0.01
            assert (whole > 0) == (1 - p > q * (1 - q))


@pytest.mark.parametrize("size", [4, 16])
@pytest.mark.parametrize("flipped", [0.0, 0.1, 0.4])
def test_a_reward_of_0_and_1_alone_has_its_exact_speed_in_small_groups(size, flipped):
    """By every group of answers, and every group of verdicts, that can be."""
    for p, q in ((0.05, 0.5), (0.3, 0.1), (0.9, 0.9)):
        (w, r), rate = known(p, q), p * (1 - flipped) + (1 - p) * flipped
        answers = population.every_group(p, q, size)
        base, reasoning = (
            population.growth(answers, p, q, "segment", 0.0, plasticity=k) for k in (1.0, 0.0)
        )
        _, verdict, weight, _ = population.every_group(rate, 0.5, size)
        right = torch.where(verdict > 0, p * (1 - flipped) / rate, p * flipped / (1 - rate))
        du = float((weight * group_advantages(verdict, size) * right).sum())
        truth = (1 - 2 * flipped) * spread(p) / spread(rate)
        found = criterion.segment_speed_in_groups(w, r, p * q, rate, size, truth)
        assert reasoning + slopes(p, q)[0] * du == pytest.approx(found * base, rel=2e-3)
        large = criterion.segment_speed_in_groups(w, r, p * q, p, 1000)
        assert large == pytest.approx(criterion.segment_speed(w, r, math.inf), rel=0.02)


def test_the_dense_factor_is_that_of_parts_with_a_logit_each():
    """By every combination of right and wrong parts."""
    for cell, parts in ((0.6, 1), (0.6, 4), (0.9, 8)):
        right = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * parts).view(-1, parts).double()
        chance = (right * cell + (1 - right) * (1 - cell)).prod(1)
        dense, exact, score = right.mean(1), right.prod(1), right[:, 0] - cell

        def mean(x, chance=chance):
            return float((chance * x).sum())

        def signal(reward, score=score, mean=mean):
            return mean(reward * score) / math.sqrt(mean(reward**2) - mean(reward) ** 2)

        p = cell**parts
        assert criterion.dense_factor(p, parts) == pytest.approx(signal(dense) / signal(exact))
        most = criterion.dense_factor(p)
        assert 1 <= criterion.dense_factor(p, parts) + 1e-12 and most >= signal(dense) / signal(
            exact
        )
        assert criterion.dense_factor(p, 1e6) == pytest.approx(most, rel=1e-4)


def test_limits():
    w, r = known(0.3, 1 - 1e-9)
    assert r == pytest.approx(1) and w == pytest.approx(1)  # reasoning never fails: nothing to add
    assert criterion.segment_speed(w, r, math.inf) == pytest.approx(1)
    assert criterion.best_mix(1.0, 1.0) == (0.0, 1.0)
    assert criterion.break_even(0.2, 0.1, 1.0) == math.inf
    w, r = known(1 - 1e-9, 0.4)
    assert w < 1e-6 and criterion.best_mix(w, r)[1] == pytest.approx(1)  # perception is right
    assert criterion.alpha_of(math.inf, 1, 1) == 1 and criterion.weight_ratio(1, 1, 1) == math.inf
    assert criterion.alpha_of(criterion.weight_ratio(0.3, 0.2, 0.5), 0.2, 0.5) == pytest.approx(0.3)


def test_agreement_pays_the_truth_where_it_is_more_common_than_two_alike():
    """(P12), by policy gradient on a softmax over classes of perceptions."""
    for shares in ((0.55, 0.45), (0.2, 0.8), (0.2, *[0.1] * 8), (0.3, 0.4, 0.3)):
        pi = torch.tensor(shares, dtype=torch.float64)
        slope = pi[0] * (pi[0] - (pi * pi).sum())  # E[agreement x score of the right class]
        logits = pi.log().requires_grad_()
        (logits.softmax(0) * pi).sum().backward()  # the others' shares are what a rollout is paid
        assert float(logits.grad[0]) == pytest.approx(float(slope))
        if shares[0] >= 0.5:
            assert slope > 0
