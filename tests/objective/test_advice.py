"""Facts about the rule: what it advises of a policy, and what it says when it does not know."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import population
import pytest
import torch

from percbal.objective import criterion
from percbal.objective.advice import advise, expected_speed
from percbal.objective.measured import Between, Measured, count_groups


def policy(p, q, **more):
    r = criterion.chain_correlation(p, q)
    return Measured(a=p * q, a_p=p, after_right=q, r=r, **more)


def against(low, high):
    return replace(policy(0.5, 0.5), r=-0.1, r_low=low, r_high=high, groups=200)


def sampled(p, q, groups=400, size=16, seed=0):
    g = torch.Generator().manual_seed(seed)
    perception = (torch.rand(groups * size, generator=g) < p).double()
    answer = perception * (torch.rand(groups * size, generator=g) < q)
    return population.Rollouts(answer, perception, torch.ones(groups * size), size)


@pytest.mark.parametrize("p, q", [(0.1, 0.6), (0.3, 0.4), (0.7, 0.3), (0.9, 0.5), (0.85, 0.9)])
def test_rollouts_are_advised_as_the_model_that_made_them_learns(p, q):
    """The sign for all tokens, and the speed of a mixture, against advantages and no formula."""
    measured = population.measured(sampled(p, q))
    found, large = advise(measured), population.one_large_group(p, q)
    base, small, half, alone = (
        population.growth(large, p, q, credit, alpha)
        for credit, alpha in (("scalar", 0), ("scalar", 1e-3), ("scalar", 0.5), ("segment", 1.0))
    )
    assert (found.margin > 0) == (small > base)
    without = replace(measured, silent=math.nan)
    assert expected_speed(without, "scalar", 0.5) == pytest.approx(half / base, abs=0.06)
    assert found.segment_speed == pytest.approx(alone / base, abs=0.12)
    assert expected_speed(measured, "scalar", 0.0) == 1.0
    json.dumps(found.to_dict(), allow_nan=False)


def test_silent_groups_are_those_where_perceptions_alone_differ():
    answer, perception, *_ = rollouts = sampled(0.3, 0.1, groups=50, size=4)
    found = population.measured(rollouts)
    alone = [
        perception[i : i + 4].std() > 0 and answer[i : i + 4].std() == 0 for i in range(0, 200, 4)
    ]
    assert found.silent == pytest.approx(sum(map(float, alone)) / 50)
    assert found.after_right == pytest.approx(float(answer.sum() / perception.sum()))


@pytest.mark.parametrize(
    "measured, verdict, sentence",
    [
        (policy(0.05, 0.1), "all_tokens", "A dense reward tells"),
        (policy(0.7, 0.3), "perception_tokens", "on the perception tokens alone (credit segment"),
        (policy(0.9, 0.999), "little", "An exact reward is enough"),
        (against(-0.2, -0.1), "conflict", "Right answers go with wrong perceptions"),
        (against(-0.3, 0.1), "conflict", "cannot be told: the within-group r is -0.10"),
        (policy(0.0, 0.0), "unknown", "an exact perception reward is silent"),
        (policy(1.0, 0.5), "unknown", "Every perception here is right"),
        (policy(0.5, 0.0), "unknown", "Here no answer is right"),
        (replace(policy(0.5, 0.5), a=math.nan, a_p=math.nan), "unknown", "No rollout has both"),
        (replace(policy(0.5, 0.5), after_right=math.nan, a_r=0.5), "unknown", "must be exact"),
        (replace(policy(0.5, 0.5), r=math.nan), "unknown", "Within groups outcome or perception"),
        (
            replace(policy(0.5, 0.5), wrong_success=0.3),
            "unknown",
            "30% of the right answers follow",
        ),
        (replace(policy(0.7, 0.3), silent=0.4), "all_tokens", "In 40% of the groups the outcomes"),
    ],
)
def test_verdicts(measured, verdict, sentence):
    found = advise(measured)
    assert found.verdict == verdict and any(sentence in s for s in found.sentences)
    assert all(s.endswith(".") and "nan" not in s and "inf" not in s for s in found.sentences)
    if verdict == "unknown":
        assert expected_speed(measured, "scalar", 0.5) is None and found.margin is None


def test_a_measured_a_r_is_taken_and_what_stands_for_it_is_named():
    found, given = advise(policy(0.5, 0.5)), advise(policy(0.5, 0.5, a_r=0.8))
    assert (found.reasoning_from, given.reasoning_from) == ("after_right", "a_r")
    assert "a_r was not measured" in found.sentences[-1] and "a_r is 0.80" in given.sentences[-1]
    assert given.share > found.share  # less is left to learn in reasoning


def test_a_verdict_holds_if_both_ends_of_the_interval_agree():
    wide = replace(policy(0.7, 0.3), r_low=-0.1, r_high=0.5, groups=20)
    assert advise(wide).holds is False and "more groups would tell" in advise(wide).sentences[1]
    assert advise(replace(wide, r_low=0.3, r_high=0.34)).holds is True
    assert advise(replace(wide, r_low=0.3, r_high=0.34, groups=7)).holds is False
    assert advise(policy(0.7, 0.3)).holds is None


def test_a_conflict_holds_if_the_whole_interval_is_one():
    assert advise(against(-0.2, -0.1)).holds is True
    unsure = advise(against(-0.3, 0.1))
    assert unsure.holds is False and "Right answers go with wrong" not in unsure.sentences[0]
    assert "between -0.30 and 0.10" in unsure.sentences[0]


@pytest.mark.parametrize("groups, holds", [(3, False), (9, False), (4000, True)])
def test_r_of_1_is_as_sure_as_its_groups_are_many(groups, holds):
    """a_r 0.7 shows no wrong answer in a few groups of a_p 0.05; (C3) then has no width."""
    found = advise(Measured(0.05, 0.05, 1.0, 1.0, 1.0, 1.0, groups=groups, s_a=0.2, s_p=0.2))
    assert found.verdict == "little" and found.holds is holds
    assert any("not sure" in s for s in found.sentences) is not holds


def test_few_groups_are_hardly_ever_sure_of_a_wrong_verdict():
    """8 groups of 8 at a_p 0.05 and a_r 0.7, where a reward on all tokens helps: 19% were."""
    wrong = 0
    for seed in range(100):
        found = advise(population.measured(sampled(0.05, 0.7, groups=8, size=8, seed=seed)))
        wrong += found.holds is True and found.verdict != "all_tokens"
    assert advise(population.measured(sampled(0.05, 0.7, 4000, 8))).verdict == "all_tokens"
    assert wrong <= 5


def test_errors_that_do_not_matter_for_the_answer_promise_nothing():
    """What matters is seen in half of the rollouts, a detail that does not in a fifth. By the
    gradient the exact reward has 0.79 of the outcome's speed at alpha 0.75, and 0.49 alone."""
    n, seen, detail, q = 10_000, 0.5, 0.2, 0.8
    parts = torch.cartesian_prod(*[torch.arange(100)] * 2)
    half, fifth = parts[:, 0] < 100 * seen, parts[:, 1] < 100 * detail
    matters, exact = half.double(), (half & fifth).double()
    reasons = torch.arange(n) % 10 < 10 * q  # as often whatever is seen
    answer = matters * reasons
    weight = torch.full((n,), 1 / n, dtype=torch.float64)
    rollouts = population.Rollouts(answer, matters, weight, n)
    base = population.growth(rollouts, seen, q, "segment", 0.0)
    speeds = [
        population.growth(rollouts, seen, q, "segment", alpha, reward=exact) / base
        for alpha in (0.75, 1.0)
    ]
    assert speeds == pytest.approx([0.79, 0.49], abs=0.01)
    found = population.measured(population.Rollouts(answer, exact, weight, n))
    assert found.wrong_success == pytest.approx(0.8, abs=0.01)
    assert expected_speed(found, "segment", 1.0) is None
    advice = advise(found)
    assert advice.verdict == "unknown" and advice.holds is None and advice.margin is None
    assert "can pay for the wrong thing" in advice.sentences[0]


@pytest.mark.parametrize("seen", [0.3, 0.9])
@pytest.mark.parametrize("q", [0.6, 0.8])
def test_a_detail_that_does_not_matter_harms_from_the_share_that_reasoning_fails(seen, q):
    """theory.md, Limits: the exact reward alone is slower from wrong_success = 1 - q on. So below
    the constant it is not where q is under 0.9."""
    w, r = _known(seen, q)
    for lucky, harms in ((1 - q - 0.05, False), (1 - q + 0.05, True)):
        truth = criterion.chain_correlation(
            seen, 1 - lucky
        )  # of the exact reward, with what matters
        speed = criterion.segment_speed(w, r, math.inf, criterion.Reward(truth, 0.0))
        assert (speed < 1) is harms


def _known(p, q):
    r = criterion.chain_correlation(p, q)
    return criterion.share_of(p * q * (1 - p), p * q * (1 - q)), r


def test_losses_averaged_by_segment_are_in_the_margin_and_the_speed():
    """a_p 0.8, a_r 0.5: every token alike says that all tokens lose, 4.9 times as much that they
    gain."""
    for k, margin in ((1.0, -0.03), (4.9, 0.27)):
        found = policy(0.8, 0.5, plasticity=k)
        large = population.one_large_group(0.8, 0.5)
        base, half = (
            population.growth(large, 0.8, 0.5, "segment", alpha, k) for alpha in (0.0, 0.5)
        )
        assert advise(found).margin == pytest.approx(margin, abs=0.01)
        assert expected_speed(found, "segment", 0.5) == pytest.approx(half / base, abs=0.01)
    assert "perception learns 4.9 times as readily" in advise(found).sentences[-1]


def test_a_dense_reward_is_preferred_only_of_parts_that_are_equally_hard():
    """One part right in a tenth, fifteen in 99%: by every combination it has less signal."""
    cells = torch.tensor([0.1] + [0.99] * 15, dtype=torch.float64)
    right = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 16).double()
    chance = (right * cells + (1 - right) * (1 - cells)).prod(1)

    def signal(reward):
        centred = reward - (chance * reward).sum()
        slopes = (chance * centred) @ (right - cells) / (chance * centred**2).sum().sqrt()
        return float((slopes * (1 - cells)).sum())  # d log p

    p = float(cells.prod())
    assert signal(right.mean(1)) / signal(right.prod(1)) == pytest.approx(0.68, abs=0.01)
    assert criterion.dense_factor(p) > 1.5
    said = " ".join(advise(policy(p, 0.5)).sentences)
    assert "dense" in said and "independent and about equally hard" in said


AGREES, UNSURE = Between(0.44, 0.38, 0.5, 60), Between(0.1, -0.1, 0.3, 60)


@pytest.mark.parametrize(
    "seen, wrong, warned",
    [
        (AGREES, 0.9, False),  # whole perceptions are mostly wrong, part by part it pays the truth
        (Between(0.2, 0.15, 0.25, 60), 0.9, True),  # as in the dose study, where it cost answers
        (UNSURE, 0.9, True),
        (UNSURE, 0.4, False),
        (Between(-0.3, -0.4, -0.2, 60), 0.9, True),
        (AGREES._replace(groups=3), 0.9, True),
        (Between(math.nan, math.nan, math.nan, 0), 0.9, False),
        (None, 0.9, False),
    ],
)
def test_agreement_is_warned_of_where_it_is_not_seen_to_go_with_the_truth(seen, wrong, warned):
    found = advise(replace(policy(0.3, 0.5), mostly_wrong=wrong, agreement=seen))
    assert (found.agreement is not None) is warned
    if warned:
        assert found.agreement in found.sentences and "can harm" in found.agreement


def test_groups_are_counted():
    nan = math.nan
    perception = torch.tensor([1, 0, 0, nan, 1, 0, nan, nan, nan, 0.5, 1, 1])
    group = torch.tensor([0, 0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 3])
    outcome = torch.tensor([1, 0, 0, 1, nan, 0, 0, 0, 1, 0, 1, 0])
    found = count_groups(outcome, perception, group, 4).tolist()
    assert found == [1, 3, 1, 2, 1]  # one pair of right perceptions, of variance 1/2 each
    assert count_groups(outcome, perception, group, 4, 0.0)[:2].tolist() == [0, 3]
