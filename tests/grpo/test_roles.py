"""Facts about which reward function is which."""

from __future__ import annotations

import math

import pytest
import torch

from percbal.grpo.config import BalancedGRPOConfig
from percbal.grpo.roles import RewardRoles

NAMES = ["outcome", "mine", "other", "perception"]


def roles(names=NAMES, surrogates=(), **options):
    wanted = dict.fromkeys(("true_perception", "true_reasoning")) | {
        "outcome_reward": "outcome",
        "perception_reward": "mine",
    }
    return RewardRoles(names, wanted | options, ["other"], [1.0] * len(names), 0.5, surrogates)


def test_a_label_free_reward_of_a_users_own_is_not_taken_for_the_truth():
    assert roles().roles["true_perception"] == "mine" and "mine" not in roles().followed()
    named = roles(surrogates=["mine", "other"])
    assert named.roles["true_perception"] is None
    assert named.followed() == ["outcome", "mine", "other"]
    known = roles(surrogates=["mine"], true_perception="perception")
    assert known.roles["true_perception"] == "perception"
    assert known.followed() == ["outcome", "mine"] and known.extra == []


@pytest.mark.parametrize(
    ("names", "weights", "alone"),
    [
        (["outcome", "mine", "other"], [1.0, 1.0, 1.0], True),
        (["outcome", "mine", "other"], [2.0, 2.0, 1.0], True),
        (["outcome", "mine", "other"], [1.0, 4.0, 1.0], False),
        (["outcome", "mine", "other", "format"], [1.0] * 4, False),
    ],
)
def test_a_speed_is_foretold_of_the_outcome_and_the_truth_alone(names, weights, alone):
    wanted = dict.fromkeys(("true_perception", "true_reasoning")) | {
        "outcome_reward": "outcome",
        "perception_reward": "mine",
    }
    assert RewardRoles(names, wanted, ["other"], weights, 0.5).is_truth_alone() is alone
    assert not RewardRoles(names, wanted, ["other"], weights, 0.5, ["mine"]).is_truth_alone()


def test_a_reward_of_weight_0_is_not_missed():
    """Where it has no score, too: 0 * NaN would leave the rollout without an outcome."""
    wanted = {"outcome_reward": "outcome", "perception_reward": "perception"}
    wanted |= dict.fromkeys(("true_perception", "true_reasoning"))
    names = ["outcome", "perception", "monitor", "format"]
    rewards = torch.tensor([[1.0, math.nan, math.nan, 1.0], [0.0, 1.0, 7.0, math.nan]])

    def split(*weights):
        return RewardRoles(names, wanted, [], weights, 0.5).split(rewards)

    monitored = split(1.0, 2.0, 0.0, 0.5)
    torch.testing.assert_close(monitored.outcome, torch.tensor([1.5, math.nan]), equal_nan=True)
    torch.testing.assert_close(monitored.perception, torch.tensor([math.nan, 2.0]), equal_nan=True)
    assert split(1.0, 0.0, 0.0, 0.0).outcome.tolist() == [1.0, 0.0]
    assert split(1.0, 0.0, 0.0, 0.0).perception.tolist() == [0.0, 0.0]
    truth = split(1.0, 0.0, 0.0, 0.0).true_perception  # only measured: as it was scored
    torch.testing.assert_close(truth, torch.tensor([math.nan, 1.0]), equal_nan=True)


def test_a_surrogate_that_no_function_has_is_named():
    with pytest.raises(ValueError, match="surrogates names the reward function 'mien', but"):
        roles(surrogates=["mien"])


def test_surrogates_are_an_option(tmp_path):
    options = dict(use_cpu=True, bf16=False, report_to="none")
    assert BalancedGRPOConfig(str(tmp_path), surrogates=["mine"], **options).surrogates == ["mine"]
