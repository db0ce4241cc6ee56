"""Facts about alpha: the rule (M13) gives the wanted correlation and stays in range."""

from __future__ import annotations

import math
import statistics

import pytest
import torch

from percbal.grpo.coupling_log import CouplingLog, within_group
from percbal.objective.alpha import CouplingAlpha, FixedAlpha, least_alpha
from percbal_ops import reward_coupling


def correlated(r: float, std_a: float, std_p: float, n: int = 20000) -> tuple:
    """Two samples with exactly these figures."""
    x = torch.randn(2, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = x - x.mean(1, keepdim=True)
    x[1] -= (x[0] @ x[1]) / (x[0] @ x[0]) * x[0]
    x = x / x.square().mean(1, keepdim=True).sqrt()
    return std_a * x[0], std_p * (r * x[0] + math.sqrt(1 - r * r) * x[1])


@pytest.mark.parametrize("r", [-0.3, 0.0, 0.3, 0.6])
@pytest.mark.parametrize("stds", [(0.5, 0.5), (0.1, 0.4)])
def test_the_rule_reaches_the_wanted_correlation(r, stds):
    a, p = correlated(r, *stds)
    alpha = least_alpha(r, *stds, target=0.7)
    mixed = alpha * p + (1 - alpha) * a
    assert float(torch.corrcoef(torch.stack((mixed, p)))[0, 1]) == pytest.approx(0.7, abs=1e-9)


def test_a_coupled_outcome_needs_no_perception_reward():
    assert least_alpha(0.7, 0.5, 0.5, target=0.7) == pytest.approx(0.0, abs=1e-12)
    assert least_alpha(0.95, 0.5, 0.5, target=0.7) == 0.0
    assert least_alpha(0.2, 0.5, 0.5, 0.7) > least_alpha(0.5, 0.5, 0.5, 0.7) > 0


def test_two_equal_uncorrelated_rewards_are_mixed_equally():
    assert least_alpha(0.0, 0.3, 0.3, math.sqrt(0.5)) == pytest.approx(0.5)


def test_the_controller_starts_at_its_value_and_keeps_its_range():
    control = CouplingAlpha(0.5, target=0.7, low=0.2, high=0.6)
    assert control.value == 0.5
    control.update(math.nan, 0.5, 0.5)
    control.update(0.5, 0.0, 0.5)
    assert control.value == 0.5
    control.update(0.99, 0.5, 0.5)
    assert control.value == 0.2
    for _ in range(100):
        control.update(-0.9, 0.5, 0.1)
    assert control.value == 0.6


def test_the_controller_goes_on_from_its_state():
    first = CouplingAlpha(0.5, target=0.7, low=0.0, high=1.0)
    first.update(0.1, 0.4, 0.5)
    second = CouplingAlpha(0.9, target=0.7, low=0.0, high=1.0)
    second.load_state_dict(first.state_dict())
    for control in (first, second):
        control.update(0.5, 0.3, 0.4)
    assert first.value == second.value != 0.9


def test_a_state_of_another_rule_is_named():
    control = CouplingAlpha(0.5, target=0.7, low=0.0, high=1.0)
    with pytest.raises(ValueError, match="was not trained with alpha_rule='coupling'"):
        control.load_state_dict(FixedAlpha(0.3).state_dict())


def test_a_fixed_alpha_learns_nothing():
    control = FixedAlpha(0.3)
    control.update(0.9, 0.5, 0.5)
    control.load_state_dict(control.state_dict())
    assert control.value == 0.3


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"target": 1.0}, "alpha_target must be between 0 and 1, got 1.0"),
        ({"low": 0.7}, "alpha_min and alpha_max must be in order in .*, got 0.7, 0.6"),
        ({"decay": 1.0}, "decay must be at least 0 and below 1, got 1.0"),
    ],
)
def test_impossible_options_are_named(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        CouplingAlpha(0.5, **({"low": 0.1, "high": 0.6} | options))


def rewards(seed: int, groups: int = 12, size: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    p = torch.randint(0, 2, (groups * size,), generator=generator).float()
    a = p * torch.randint(0, 2, (groups * size,), generator=generator)
    return a, p


def test_within_group_figures_are_those_of_the_operator():
    a, p = rewards(0)
    a[3] = math.nan
    r, std_a, std_p = within_group(a, p, 8)
    expected = reward_coupling(a, p, group=torch.arange(len(a)) // 8)
    assert r == pytest.approx(float(expected.perception.within.r), abs=1e-12)
    both = torch.stack((a, p)).double().view(2, -1, 8).tolist()
    groups = [[(x, y) for x, y in zip(*g, strict=True) if x == x] for g in zip(*both, strict=True)]
    for std, reward in ((std_a, 0), (std_p, 1)):
        each = [[pair[reward] for pair in group] for group in groups]
        squares = [statistics.pvariance(values) * len(values) for values in each]
        assert std == pytest.approx((sum(squares) / 95) ** 0.5, abs=1e-12)


def test_within_group_figures_need_a_difference():
    assert all(map(math.isnan, within_group(torch.ones(8), torch.arange(8.0), 4)))


def test_the_log_covers_all_batches_since_the_last():
    log = CouplingLog(["outcome", "guess"], has_reasoning=False)
    assert log.drain() == {}
    batches = [rewards(seed) for seed in (1, 2)]
    for a, p in batches:
        log.update(torch.stack((a, 1 - p), 1), p, None, 8)
    a, p = (torch.cat(parts) for parts in zip(*batches, strict=True))
    whole = reward_coupling(a, p, group=torch.arange(len(a)) // 8)
    found = log.drain()
    assert found["coupling/r_outcome_perception"] == pytest.approx(float(whole.perception.within.r))
    assert found["coupling/r_guess_perception"] == pytest.approx(-1)
    assert found["coupling/conflict_rate"] == pytest.approx(float(whole.signal.conflict_rate))
    assert log.drain() == {}
