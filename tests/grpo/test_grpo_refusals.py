"""What BalancedGRPOTrainer does not support is one sentence before it trains."""

from __future__ import annotations

import pytest
import rl_fixtures as rl


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"credit": "blame"}, "credit must be one of scalar, .*, got 'blame'"),
        ({"alpha": 1.5}, "alpha must be between 0 and 1, got 1.5"),
        ({"loss_type": "vespo"}, "does not support loss_type='vespo'"),
        ({"importance_sampling_level": "sequence"}, "importance_sampling_level='sequence'"),
        ({"perception_reward": "eyes"}, "names the reward function 'eyes', but there are only"),
        ({"true_reasoning": "mind"}, "true_reasoning names the reward function 'mind'"),
        ({"perception_tags": ["<p>"]}, "perception_tags must be two strings, got"),
        ({"outcome_reward": "perception"}, "are both 'perception'; they must be two functions"),
        ({"alpha_rule": "coupling", "alpha_min": 0.9}, "alpha_min and alpha_max must be in order"),
        ({"reward_timeout": 0.0}, "reward_timeout must be positive, got 0.0"),
        ({"cast_lm_head_to_fp32": True}, "set logprobs='trl': .* of one dtype"),
    ],
)
def test_options_that_do_not_go_together_are_refused(policy, options, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        rl.trainer(policy, tmp_path, **options)


def test_agreement_over_split_groups_is_refused():
    from percbal.grpo.config import BalancedGRPOConfig
    from percbal.grpo.refusals import refuse_split_groups

    options = {"use_cpu": True, "bf16": False, "per_device_train_batch_size": 6}
    args = BalancedGRPOConfig("unused", num_generations=3, **options)
    refuse_split_groups(args, ["group_agreement"], 2)
    args.num_generations = 4
    refuse_split_groups(args, ["outcome"], 2)
    refuse_split_groups(args, ["group_agreement"], 1)
    with pytest.raises(ValueError, match="6 rollouts per process are no multiple of num_gener.*=4"):
        refuse_split_groups(args, ["group_agreement"], 2)
