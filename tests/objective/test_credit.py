"""Facts about credit: which tokens are credited with which reward, and by how much."""

from __future__ import annotations

import math

import pytest
import torch

from percbal.objective.credit import (
    CREDITS,
    NO_PERCEPTION,
    Advantages,
    assign_credit,
    group_advantages,
    has_partner,
    mix,
    normalized_advantages,
    perception_keys,
    same_perception_advantages,
    segment_scale,
    token_advantages,
)
from percbal.segments.tagged import PERCEPTION, REASONING
from percbal_ops import group_advantage

G = 4
NAN = math.nan


def binary(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(seed)).float()


def test_group_advantages_are_those_of_the_operator():
    rewards = torch.randn(6 * G, generator=torch.Generator().manual_seed(0))
    rewards[[1, 9]] = NAN
    group = torch.arange(len(rewards)) // G
    expected = group_advantage(rewards, group)
    torch.testing.assert_close(
        group_advantages(rewards, G), expected.scaled.nan_to_num(0.0), atol=2e-6, rtol=2e-6
    )
    torch.testing.assert_close(
        group_advantages(rewards, G, "none"),
        expected.centred.nan_to_num(0.0),
        atol=2e-6,
        rtol=2e-6,
    )


def test_of_equal_rewards_only_the_operator_promises_exact_zeros():
    """What differs between the two: TRL divides the float32 rounding of the mean by 1e-4."""
    for reward in (0.1, 0.3, 0.7, 1 / 3, 1.0):
        rewards = torch.full((8,), reward)
        assert not group_advantage(rewards).scaled.any()
        assert group_advantages(rewards, 8).abs().max() < 1e-3


def test_an_unscored_rollout_moves_nobody():
    rewards = torch.tensor([1.0, 0.0, 1.0, NAN])
    ours = group_advantages(rewards, G)
    assert ours[3] == 0
    torch.testing.assert_close(ours[:3], group_advantages(rewards[:3], 3))


def test_a_reward_without_weight_need_not_be_there():
    scored, nothing = binary(2 * G), torch.full((2 * G,), NAN)
    assert torch.equal(mix(scored, nothing, 0.0), scored)
    assert torch.equal(mix(nothing, scored, 1.0), scored)
    assert mix(scored, nothing, 0.5).isnan().all()


def test_a_group_of_equal_rewards_has_no_advantage():
    for credit in CREDITS:
        both = assign_credit(
            credit, torch.ones(G), torch.ones(G), torch.zeros(G).long(), alpha=0.5, group_size=G
        )
        assert not both.perception.any() and not both.reasoning.any()


def test_normalising_each_reward_keeps_what_a_mixture_merges():
    """(a_p, a) = (1, 0) and (0, 1) mix to one reward of the same size; a rarer one weighs more."""
    outcome = torch.tensor([0.0, 1.0, 0.0, 0.0])
    perception = torch.tensor([1.0, 0.0, 1.0, 0.0])
    mixed = group_advantages(mix(outcome, perception, 0.5), G)
    assert mixed[0] == mixed[1]
    apart = normalized_advantages(outcome, perception, 0.5, G)
    assert apart[1] > apart[0]


def test_segment_credit_leaves_reasoning_to_the_outcome():
    outcome, perception = binary(8 * G), binary(8 * G, seed=1)
    key = torch.zeros(8 * G, dtype=torch.int64)
    got = assign_credit("segment", outcome, perception, key, alpha=0.3, group_size=G)
    assert torch.equal(got.reasoning, group_advantages(outcome, G))
    assert torch.equal(got.perception, group_advantages(0.3 * perception + 0.7 * outcome, G))


def test_reasoning_after_a_wrong_perception_is_not_blamed():
    """Two rollouts saw right and won, two saw wrong and lost: nothing is known of reasoning."""
    outcome = torch.tensor([1.0, 1.0, 0.0, 0.0])
    key = torch.tensor([7, 7, 8, 9])
    assert group_advantages(outcome, G)[2] < 0
    assert not same_perception_advantages(outcome, key, G).any()


def test_reasoning_is_compared_after_the_same_perception():
    outcome = torch.tensor([1.0, 0.0, 0.0, 0.0])
    key = torch.tensor([7, 7, 8, 8])
    got = same_perception_advantages(outcome, key, G)
    expected = group_advantages(torch.tensor([1.0, 0.0]), 2)
    torch.testing.assert_close(got[:2], expected)
    assert not got[2:].any()


def test_one_perception_for_all_is_plain_grpo():
    outcome = torch.rand(5 * G, generator=torch.Generator().manual_seed(2))
    for scale in ("group", "none", "batch"):
        torch.testing.assert_close(
            same_perception_advantages(outcome, torch.full((5 * G,), 3), G, scale),
            group_advantages(outcome, G, scale),
            atol=1e-5,
            rtol=1e-5,
        )


def test_equal_keys_in_other_groups_do_not_meet():
    outcome = torch.tensor([1.0, 0.0])
    assert not same_perception_advantages(outcome, torch.tensor([5, 5]), 1).any()


def test_an_unscored_sibling_is_no_baseline():
    outcome = torch.tensor([1.0, NAN, 0.0, 1.0])
    got = same_perception_advantages(outcome, torch.tensor([7, 7, 8, 8]), G)
    assert not got[:2].any() and got[3] > 0 > got[2]


def test_a_partner_perceived_the_same_in_the_group_and_both_are_scored():
    outcome = torch.tensor([1.0, NAN, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0])
    none = NO_PERCEPTION
    partner = has_partner(outcome, torch.tensor([7, 7, 8, 8, 7, none, none, 9]), G)
    assert partner.tolist() == [False, False, True, True, False, False, False, False]


def test_a_rollout_without_perception_is_judged_whole():
    outcome, perception = torch.tensor([1.0, 0.0, 0.0, 1.0]), torch.tensor([1.0, 0.0, 0.0, 1.0])
    key = torch.tensor([7, NO_PERCEPTION, 8, 7])
    got = assign_credit("same_perception", outcome, perception, key, alpha=0.5, group_size=G)
    assert got.reasoning[1] == got.perception[1] < 0
    assert not got.reasoning[[0, 2, 3]].any()


@pytest.mark.parametrize("credit", CREDITS)
def test_credit_does_not_depend_on_the_order_within_a_group(credit):
    generator = torch.Generator().manual_seed(3)
    outcome, perception = binary(6 * G), binary(6 * G, seed=1)
    key = torch.randint(0, 3, (6 * G,), generator=generator)
    order = torch.cat([G * i + torch.randperm(G, generator=generator) for i in range(6)])
    straight = assign_credit(credit, outcome, perception, key, alpha=0.4, group_size=G)
    mixed = assign_credit(
        credit, outcome[order], perception[order], key[order], alpha=0.4, group_size=G
    )
    for a, b in zip(straight, mixed, strict=True):
        torch.testing.assert_close(a[order], b, atol=1e-5, rtol=1e-5)


def test_an_unknown_credit_is_named():
    zeros = torch.zeros(G)
    with pytest.raises(ValueError, match="credit must be one of .*, got 'blame'"):
        assign_credit("blame", zeros, None, zeros.long(), alpha=0.0, group_size=G)


def test_the_scale_makes_a_token_mean_the_weighted_sum_of_segment_means():
    generator = torch.Generator().manual_seed(4)
    ids = torch.randint(0, 2, (3, 11), generator=generator)
    loss = torch.rand(3, 11, generator=generator)
    weights = torch.tensor([0.8, 0.2])
    counts = torch.stack([(ids == s).sum() for s in (PERCEPTION, REASONING)])
    ones = Advantages(torch.ones(3), torch.ones(3))
    factor = token_advantages(ones, ids, segment_scale(weights, counts))
    expected = 0.8 * loss[ids == PERCEPTION].mean() + 0.2 * loss[ids == REASONING].mean()
    torch.testing.assert_close((factor * loss).mean(), expected)


def test_an_empty_segment_scales_to_nothing():
    got = segment_scale(torch.tensor([0.5, 0.5]), torch.tensor([[0, 8], [2, 2]]))
    assert got.tolist() == [[0.0, 0.5], [1.0, 1.0]]


def test_perceptions_of_the_same_words_have_one_key():
    keys = perception_keys([" a  b\n", "a b", "ab", None, "\ud800", ""])
    assert keys[0] == keys[1] and len(set(keys)) == 5
    assert keys[3] == NO_PERCEPTION and all(0 <= key < 2**63 for key in keys[:3] + keys[4:])
    assert keys[1] == 6745248006143212692  # in every process and on every machine


def test_another_scale_is_refused_and_not_taken_for_none():
    with pytest.raises(ValueError, match="scale must be one of group, batch, none, got 'grop'"):
        group_advantages(torch.ones(4), 2, "grop")
