"""What BalancedGRPOTrainer does not support is one sentence before it trains."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import rl_fixtures as rl
import torch

from percbal.grpo.config import BalancedGRPOConfig
from percbal.grpo.refusals import (
    refuse_several_images,
    refuse_split_groups,
    refuse_unsupported,
)
from percbal.objective.credit import segment_scale


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
        (
            {"loss_type": "bnpo"},
            "support loss_type='bnpo': it divides by the tokens of each micro-b",
        ),
        ({"top_entropy_quantile": 0.2}, "does not support top_entropy_quantile=0.2: it drops more"),
        (
            {"credit": "scalar", "balance": "fixed", "loss_type": "bnpo"},
            "with credit='scalar' does not support loss_type='bnpo'",
        ),
        (
            {"credit": "normalized", "scale_rewards": "none"},
            "support scale_rewards='none': it would change nothing",
        ),
        ({"credit": "scalar", "lam": 0.3}, "lam=0.3 would change nothing: balance token_mean"),
        ({"reward_timeout": 0.0}, "reward_timeout must be positive, got 0.0"),
        ({"cast_lm_head_to_fp32": True}, "set logprobs='trl': .* of one dtype"),
    ],
)
def test_options_that_do_not_go_together_are_refused(policy, options, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        rl.trainer(policy, tmp_path, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"loss_type": "bnpo", "balance": "token_mean"},
        {"top_entropy_quantile": 0.2, "credit": "scalar"},
        {"credit": "normalized"},
        {"credit": "segment", "scale_rewards": "batch", "lam": 0.3},
    ],
)
def test_the_same_options_where_they_have_their_effect(options):
    args = BalancedGRPOConfig("unused", use_cpu=True, bf16=False, **options)
    refuse_unsupported(args, {})


def test_bnpo_would_not_have_the_weights_of_the_balance():
    """What its refusal says, by two micro-batches with other shares of perception."""
    counts = torch.tensor([[10, 90], [10, 10]])  # tokens of perception and reasoning in each
    whole = counts.sum(0)
    scale = segment_scale(torch.tensor([0.5, 0.5]), whole)
    each = (counts * scale / counts.sum(1, keepdim=True)).mean(0)  # bnpo's means, then over both
    torch.testing.assert_close(each, torch.tensor([0.90, 0.42]))
    torch.testing.assert_close((counts * scale).sum(0) / whole.sum(), torch.tensor([0.5, 0.5]))


def test_agreement_over_split_groups_is_refused():
    options = {"use_cpu": True, "bf16": False, "per_device_train_batch_size": 6}
    args = BalancedGRPOConfig("unused", num_generations=3, **options)
    refuse_split_groups(args, ["group_agreement"], 2)
    args.num_generations = 4
    refuse_split_groups(args, ["outcome"], 2)
    refuse_split_groups(args, ["group_agreement"], 1)
    with pytest.raises(ValueError, match="6 rollouts per process are no multiple of num_gener.*=4"):
        refuse_split_groups(args, ["group_agreement"], 2)


def test_agreement_over_split_groups_of_an_evaluation_is_refused():
    options = {"use_cpu": True, "bf16": False, "per_device_train_batch_size": 8}
    args = BalancedGRPOConfig("unused", num_generations=8, **options)
    args.per_device_eval_batch_size = 4  # two processes have one group of 8
    refuse_split_groups(args, ["group_agreement"], 2)
    refuse_split_groups(args, ["group_agreement"], 1, evaluates=True)
    refuse_split_groups(args, ["outcome"], 2, evaluates=True)
    with pytest.raises(ValueError, match="per_device_eval_batch_size=4 is no .* num_generations=8"):
        refuse_split_groups(args, ["group_agreement"], 2, evaluates=True)
    args.num_generations_eval = 4
    refuse_split_groups(args, ["group_agreement"], 2, evaluates=True)
    args.num_generations_eval = 3
    with pytest.raises(ValueError, match="=4 is no multiple of num_generations_eval=3"):
        refuse_split_groups(args, ["group_agreement"], 2, evaluates=True)


def test_several_images_of_a_prompt_are_refused_where_their_number_is_lost():
    counting, other = (
        SimpleNamespace(image_processor=SimpleNamespace(model_input_names=["pixel_values", *more]))
        for more in (["batch_num_images"], [])
    )
    rows = [{"image": 0}, {"image": None}, {"images": [0, 0], "id": "two"}]
    refuse_several_images(rows, other)
    refuse_several_images(rows[:2], counting)
    with pytest.raises(ValueError, match="example two: .* takes one image a prompt, got one with"):
        refuse_several_images(rows, counting)
