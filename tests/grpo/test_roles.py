"""Facts about which reward function is which."""

from __future__ import annotations

import pytest

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


def test_a_surrogate_that_no_function_has_is_named():
    with pytest.raises(ValueError, match="surrogates names the reward function 'mien', but"):
        roles(surrogates=["mien"])


def test_surrogates_are_an_option(tmp_path):
    options = dict(use_cpu=True, bf16=False, report_to="none")
    assert BalancedGRPOConfig(str(tmp_path), surrogates=["mine"], **options).surrogates == ["mine"]
