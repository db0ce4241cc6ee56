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


def test_a_surrogate_that_no_function_has_is_named():
    with pytest.raises(ValueError, match="surrogates names the reward function 'mien', but"):
        roles(surrogates=["mien"])


def test_surrogates_are_an_option(tmp_path):
    options = dict(use_cpu=True, bf16=False, report_to="none")
    assert BalancedGRPOConfig(str(tmp_path), surrogates=["mine"], **options).surrogates == ["mine"]
