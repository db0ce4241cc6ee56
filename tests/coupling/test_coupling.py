"""Reward coupling: what its numbers mean, honest intervals, odd input."""

import math
import re
from pathlib import Path

import pytest
import torch
from coupling_cases import DEVICES, NAN, rollouts
from scipy import stats

from percbal_ops.coupling import summary_reference
from percbal_ops.coupling.api import group_advantage, reward_coupling


@pytest.mark.parametrize(
    "outcome",
    [[0.1] * 6, [NAN] * 6, [0.1, NAN, 0.1, 0.1, NAN, 0.1]],
    ids=["constant", "all NaN", "constant or NaN"],
)
@pytest.mark.parametrize("group", [[0] * 6, [0, 0, 0, 1, 1, 1], [0, 1, 2, 3, 4, 5]])
def test_without_variation_there_is_no_correlation_and_no_signal(outcome, group):
    perception = torch.tensor([0.0, 1, 1, 0, 1, 0])
    result = reward_coupling(torch.tensor(outcome), perception, None, torch.tensor(group))
    for correlation in (result.perception.pooled, result.perception.within):
        assert math.isnan(correlation.r) and math.isnan(correlation.low)
    scored = int(result.signal.scored)
    assert scored == sum(v == v for v in outcome)
    assert float(result.signal.silent_groups) == 1 if scored else True
    assert math.isnan(result.signal.conflict_rate)


def test_no_rollouts_and_one_rollout():
    empty = reward_coupling(torch.zeros(0), torch.zeros(0), None, torch.zeros(0, dtype=torch.long))
    assert int(empty.perception.pooled.count) == 0 and math.isnan(empty.perception.pooled.r)
    one = reward_coupling(torch.ones(1), torch.ones(1))
    assert int(one.perception.pooled.count) == 1 and math.isnan(one.perception.pooled.r)
    assert float(one.signal.silent_groups) == 1


def test_groups_of_one_leave_nothing_within():
    outcome, perception, _, _ = rollouts(missing=0)
    alone = reward_coupling(outcome, perception, None, torch.arange(len(outcome)))
    assert math.isnan(alone.perception.within.r)
    assert float(alone.signal.silent_groups) == 1
    assert alone.to_dict() == reward_coupling(outcome, perception).to_dict()


def test_one_group_has_a_correlation_but_no_interval():
    outcome, perception, _, _ = rollouts(missing=0)
    one = reward_coupling(outcome, perception, None, torch.zeros(len(outcome), dtype=torch.long))
    assert float(one.perception.within.r) == pytest.approx(float(one.perception.pooled.r))
    assert math.isnan(one.perception.pooled.low)


def test_a_matrix_of_candidates_equals_one_call_each():
    outcome, perception, reasoning, group = rollouts(candidates=5, scattered=True)
    together = reward_coupling(outcome, perception, reasoning, group)
    for c in range(5):
        one = reward_coupling(outcome[:, c], perception, reasoning, group)
        assert float(one.perception.within.r) == pytest.approx(
            float(together.perception.within.r[c])
        )
        assert float(one.reasoning.pooled.low) == pytest.approx(
            float(together.reasoning.pooled.low[c])
        )
        assert float(one.signal.conflict_rate) == pytest.approx(
            float(together.signal.conflict_rate[c])
        )


def test_a_far_offset_does_not_change_the_answer():
    outcome, perception, _, group = rollouts(missing=0)
    near = reward_coupling(outcome, perception, None, group).perception
    far = reward_coupling(outcome + 1e6, perception, None, group).perception
    for a, b in ((near.pooled, far.pooled), (near.within, far.within)):
        assert [float(v) for v in (a.r, a.low, a.high)] == pytest.approx(
            [float(v) for v in (b.r, b.low, b.high)], abs=1e-7
        )


@pytest.mark.parametrize("device", DEVICES)
def test_advantages_equal_the_grpo_formula(device):
    reward = torch.rand(12, 8, generator=torch.Generator().manual_seed(1)).to(device)
    reward[3] = 0.1  # no signal
    group = torch.arange(12, device=device).repeat_interleave(8)
    shuffle = torch.randperm(96, generator=torch.Generator().manual_seed(2)).to(device)
    scaled, centred = group_advantage(reward.flatten()[shuffle], group[shuffle])
    truth = reward - reward.mean(1, keepdim=True)
    truth[3] = 0
    torch.testing.assert_close(centred, truth.flatten()[shuffle])
    truth = truth / (reward.std(1, keepdim=True) + 1e-4)
    torch.testing.assert_close(scaled, truth.flatten()[shuffle])


def test_signal_equals_counting_by_hand():
    outcome, perception, _, group = rollouts(rows=400, groups=50, scattered=True)
    outcome = (outcome > 0.6).double().where(outcome.isfinite(), NAN)
    result = reward_coupling(outcome, perception, None, group).signal
    scaled, centred = group_advantage(outcome, group)
    known = scaled.isfinite() & perception.isfinite()
    right, moved = perception == 1, known & (scaled != 0)
    conflict = moved & (right == (scaled < 0))
    mass = scaled.abs().where(known, 0)
    assert float(result.conflict_rate) == pytest.approx(float(conflict.sum() / moved.sum()))
    assert float(result.conflict_share) == pytest.approx(float(mass[conflict].sum() / mass.sum()))
    assert float(result.share_right) == pytest.approx(float(mass[right].sum() / mass.sum()))
    assert float(result.share_right + result.share_wrong) == pytest.approx(1)
    mass = centred.abs().where(known, 0)
    assert float(result.share_right_centred) == pytest.approx(float(mass[right].sum() / mass.sum()))
    praised = known & ~right & (scaled > 0)
    assert float(result.praised_wrong) == pytest.approx(
        float(praised.sum() / (known & ~right).sum())
    )
    blamed = known & right & (scaled < 0)
    assert float(result.blamed_right) == pytest.approx(float(blamed.sum() / (known & right).sum()))
    silent = [centred[(group == g) & outcome.isfinite()].abs().sum() == 0 for g in group.unique()]
    assert float(result.silent_groups) == pytest.approx(sum(silent) / len(silent))


def test_when_success_needs_perception_the_correlation_only_echoes_the_accuracies():
    g = torch.Generator().manual_seed(0)
    perception = torch.rand(4000, generator=g) < 0.7
    outcome = perception & (torch.rand(4000, generator=g) < 0.5)
    coupled = reward_coupling(outcome, perception, None, torch.arange(4000) // 8).perception
    a, p = outcome.double().mean(), perception.double().mean()
    identity = float((a * (1 - p) / (p * (1 - a))).sqrt())
    assert float(coupled.pooled.r) == pytest.approx(identity)
    assert float(coupled.pooled.echo) == pytest.approx(identity)
    assert float(coupled.within.echo) == pytest.approx(float(coupled.within.r))
    assert float(coupled.wrong_success) == pytest.approx(0, abs=1e-12)
    assert float(coupled.echo_ratio) == pytest.approx(1)


def test_echo_ratio_is_the_precision_of_success_beyond_the_base_rate():
    g = torch.Generator().manual_seed(0)
    perception = torch.rand(4000, generator=g) < 0.7
    outcome = torch.rand(4000, generator=g) < 0.3 + 0.2 * perception
    coupled = reward_coupling(outcome, perception).perception
    p, q = float(perception.double().mean()), float(perception[outcome].double().mean())
    assert float(coupled.echo_ratio) == pytest.approx((q - p) / (1 - p))
    assert float(coupled.wrong_success) == pytest.approx(1 - q)
    assert math.isnan(reward_coupling(outcome * 0.5, perception).perception.pooled.echo)


def simulate(groups, g):
    """Prompts differ in difficulty, so rollouts of one group are alike; unequal group sizes."""
    sizes = torch.randint(2, 11, (groups,), generator=g)
    skill = torch.randn(groups, 2, generator=g).repeat_interleave(sizes, 0)
    noise = torch.randn(len(skill), 2, generator=g)
    perception = skill[:, 0] + noise[:, 0] > -0.3
    outcome = 0.6 * skill[:, 0] + 0.5 * skill[:, 1] + noise[:, 1] + 0.8 * perception > 0.8
    return outcome, perception, torch.arange(groups).repeat_interleave(sizes)


@pytest.mark.parametrize(("groups", "lowest"), [(16, 0.90), (128, 0.92)])
def test_intervals_cover_the_truth_as_often_as_they_say(groups, lowest):
    """95% intervals over 600 data sets: the share has a standard error of 0.9 points."""
    g = torch.Generator().manual_seed(7)
    x, p, group = simulate(300_000, g)
    truth = reward_coupling(x, p, None, group).perception
    covered = torch.zeros(2)
    for _ in range(600):
        x, p, group = simulate(groups, g)
        ours = reward_coupling(x, p, None, group).perception
        for k, name in enumerate(("pooled", "within")):
            interval = getattr(ours, name)
            covered[k] += interval.low <= getattr(truth, name).r <= interval.high
    share = covered / 600
    assert (share > lowest).all() and (share < 0.98).all(), share.tolist()


def test_intervals_that_ignored_groups_would_be_too_narrow():
    x, p, group = simulate(2000, torch.Generator().manual_seed(1))
    honest = reward_coupling(x, p, None, group).perception.pooled
    naive = reward_coupling(x, p).perception.pooled
    assert float(honest.high - honest.low) > 1.1 * float(naive.high - naive.low)


@pytest.mark.parametrize("df", [1, 2, 3, 4, 7, 30, 255, 1000, 100_000])
@pytest.mark.parametrize("q", [0.55, 0.9, 0.975, 0.9995, 0.9999995])
def test_student_quantile_equals_scipy(df, q):
    assert summary_reference.t_quantile(q, df) == pytest.approx(stats.t.ppf(q, df), rel=1e-7)


def test_ten_million_rollouts():
    rows = 10_000_000
    perception = torch.arange(rows) % 3 == 0
    outcome = perception & (torch.arange(rows) % 2 == 0)
    result = reward_coupling(outcome, perception, None, (torch.arange(rows) // 10) * 2**40)
    assert int(result.signal.groups) == 1_000_000
    a, p = 1 / 6, 1 / 3
    assert float(result.perception.pooled.r) == pytest.approx(
        math.sqrt(a * (1 - p) / (p * (1 - a))), abs=1e-6
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"outcome": torch.zeros(3, 1, 1)}, r"outcome must be \(R,\) or \(R, C\), got 3 dims"),
        ({"perception": torch.zeros(4)}, r"perception must be \(3,\) like outcome, got \(4,\)"),
        ({"group": torch.zeros(3)}, "group must hold integer ids, got torch.float32"),
        ({"outcome": torch.zeros(3, dtype=torch.complex64)}, "rewards must be real"),
        ({"outcome": torch.tensor([0, 1, math.inf])}, "got 1 infinite value"),
        ({"perception": torch.tensor([0, -math.inf, 1])}, "got 1 infinite value"),
        ({"group": torch.zeros(3, dtype=torch.complex64)}, "integer ids, got torch.complex64"),
        ({"confidence": 95}, "confidence must lie between 0 and 1, got 95"),
        ({"eps": math.nan}, "eps must be finite and not negative, got nan"),
        ({"right_at": math.nan}, "right_at must be a number, got nan"),
    ],
)
def test_bad_input_is_named(change, message):
    good = {"outcome": torch.zeros(3), "perception": torch.zeros(3), "group": torch.arange(3)}
    with pytest.raises(ValueError, match=message):
        reward_coupling(**(good | change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reward": torch.zeros(3, 1, 1)}, r"reward must be \(R,\) or \(R, C\), got 3 dims"),
        ({"group": torch.zeros(4).long()}, r"group must be \(3,\) like reward, got \(4,\)"),
        ({"eps": -1.0}, "eps must be finite and not negative, got -1.0"),
    ],
)
def test_bad_input_of_advantages_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        group_advantage(**({"reward": torch.zeros(3), "group": torch.arange(3)} | change))


@pytest.mark.parametrize("device", DEVICES)
def test_an_infinite_outcome_shows_where_no_target_is_scored(device):
    outcome = torch.tensor([0, 1, math.inf, 0, 1, 1], device=device)
    perception = torch.tensor([0, 1, NAN, 0, 0, 1], device=device)
    group = torch.tensor([0, 0, 0, 1, 1, 1], device=device)
    with pytest.raises(ValueError, match="got 1 infinite value"):
        reward_coupling(outcome, perception, None, group)
    advantage = group_advantage(outcome, group)
    for a in advantage:
        assert not a[:3].isfinite().any() and a[3:].isfinite().all()


def test_the_worked_example_of_the_documentation_runs():
    text = (Path(__file__).parents[2] / "docs" / "coupling.md").read_text()
    (example,) = re.findall(r"```python\n(# worked example\n.*?)```", text, re.DOTALL)
    exec(compile(example, "docs/coupling.md", "exec"), {})


def test_an_outcome_without_candidates_is_refused():
    with pytest.raises(ValueError, match=r"at least one candidate, got \(4, 0\)"):
        reward_coupling(torch.zeros(4, 0), torch.zeros(4))
