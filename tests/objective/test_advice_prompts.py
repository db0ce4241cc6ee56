"""Facts about the rule where prompts differ: within groups GRPO sees no easy and hard prompts."""

from __future__ import annotations

import math
from dataclasses import replace

import population
import pytest
import torch

from percbal.objective.advice import advise, expected_speed

N = 2000  # rollouts of a prompt: as of a large group
KINDS = {
    "alike": [(0.4, 0.5)],
    "easy and hard to perceive": [(0.05, 0.5), (0.95, 0.5)],
    "nine": [(p, 0.5) for p in (0.01, 0.02, 0.05, 0.3, 0.7, 0.9, 0.95, 0.98, 0.99)],
    "easy and hard to answer": [(0.9, 0.05), (0.9, 0.95)],
    "both": [(0.2, 0.9), (0.8, 0.1), (0.9, 0.8)],
}


def of(kinds):
    """Rollouts, and the p and q of each."""
    kinds = kinds * 8
    rollouts = population.of_prompts([population.one_large_group(p, q, N) for p, q in kinds])
    p, q = (
        torch.tensor(values, dtype=torch.float64).repeat_interleave(N)
        for values in zip(*kinds, strict=True)
    )
    return rollouts, p, q


@pytest.mark.parametrize("name", KINDS)
def test_the_share_of_perception_is_that_of_the_gradient(name):
    """By advantages and no formula; not divided by each group's own spread, which (P13) leaves."""
    rollouts, p, q = of(KINDS[name])
    whole, perception = (
        population.growth(rollouts, p, q, "scalar", 0.0, k, scale="none") for k in (1.0, 2.0)
    )
    found = advise(population.measured(rollouts))
    assert found.share == pytest.approx(perception / whole - 1, abs=0.01)


@pytest.mark.parametrize("name", KINDS)
def test_the_margin_has_the_sign_of_what_a_small_alpha_does(name):
    rollouts, p, q = of(KINDS[name])
    base, small = (population.growth(rollouts, p, q, "scalar", x) for x in (0.0, 1e-3))
    assert (advise(population.measured(rollouts)).margin > 0) == (small > base)


def test_speeds_of_easy_and_hard_prompts():
    """0.94 at alpha 0.25 on all tokens, 1.07 of the truth on perception tokens, in groups of 16."""
    kinds = KINDS["easy and hard to perceive"]
    groups = population.of_prompts([population.every_group(p, q, 16) for p, q in kinds])
    p, q = (torch.tensor(x, dtype=torch.float64) for x in zip(*kinds, strict=True))
    p, q = (x.repeat_interleave(len(groups.answer) // 2) for x in (p, q))
    base = population.growth(groups, p, q, "scalar", 0.0)
    found = population.measured(of(kinds)[0])
    for credit, alpha in (("scalar", 0.25), ("segment", 1.0)):
        seen = population.growth(groups, p, q, credit, alpha) / base
        assert expected_speed(found, credit, alpha) == pytest.approx(seen, abs=0.05)


def test_silent_groups_are_counted_once_where_all_groups_have_one_spread():
    """By every group of 8 that can be, divided by the spread of all of them; by their groups' own
    the speed is another: most groups have no right answer."""
    p, q, alpha = 0.1, 0.5, 0.2
    groups = population.every_group(p, q, 8)
    reward = alpha * groups.perception + (1 - alpha) * groups.answer
    found = population.measured(population.one_large_group(p, q))
    once = expected_speed(replace(found, silent=0.0), "scalar", alpha)
    base, mixed = (
        population.growth(groups, p, q, "scalar", x, scale="none") / _spread(groups.weight, of)
        for x, of in ((0.0, groups.answer), (alpha, reward))
    )
    assert once == pytest.approx(mixed / base, abs=1e-3)
    own = [population.growth(groups, p, q, "scalar", x) for x in (0.0, alpha)]
    assert own[1] / own[0] > once + 0.3


def _spread(weight, values):
    return math.sqrt(float(weight @ values**2 - (weight @ values) ** 2))
