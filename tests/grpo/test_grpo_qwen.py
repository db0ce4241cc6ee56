"""Facts about GRPO with a Qwen2.5-VL: packed patches, positions in three dimensions, bytes."""

from __future__ import annotations

import copy

import pytest
import rl_fixtures as rl
import torch
import vlm_fixtures as vlm
from trl import GRPOConfig, GRPOTrainer

from percbal.rewards import masked_image_kl

TAGS = ["(", ")"]
SPOKEN = "()0123456789wx"  # so few that a policy of chance writes both tags now and then


@pytest.fixture(scope="module")
def qwen():
    return vlm.tiny_qwen()


def others(completions, **_):
    """Characters without the digits."""
    return [sum(not c.isdigit() for c in completion[0]["content"]) for completion in completions]


def even(completions, **_):
    """Even digits."""
    return [sum(c in "02468" for c in completion[0]["content"]) for completion in completions]


def train(qwen, out, rewards=(others, even), **options):
    torch.manual_seed(0)
    model, processor = qwen
    spoken = set(processor.tokenizer.convert_tokens_to_ids(list(SPOKEN)))
    unspoken = [i for i in range(len(processor.tokenizer)) if i not in spoken]
    names = {
        "outcome_reward": "others",
        "perception_reward": "even",
        "perception_tags": TAGS,
        "generation_kwargs": {"suppress_tokens": unspoken},
    }
    policy = copy.deepcopy(model), processor
    trainer = rl.trainer(policy, out, list(rewards), **(names | options))
    trainer.train()
    return trainer


def test_scalar_credit_is_stock_grpo(qwen, tmp_path):
    ours = train(qwen, tmp_path, credit="scalar", alpha=0.25, logprobs="trl")
    torch.manual_seed(0)
    model, processor = copy.deepcopy(qwen[0]), qwen[1]
    unwanted = ours.args.generation_kwargs
    theirs = GRPOTrainer(
        model,
        [others, even],
        GRPOConfig(
            str(tmp_path),
            **rl.OPTIONS,
            reward_weights=[0.75, 0.25],
            generation_kwargs=unwanted,
        ),
        train_dataset=rl.prompts(),
        processing_class=processor,
    )
    theirs.train()
    assert vlm.largest_difference(theirs.model, qwen[0]) > 1e-3
    assert vlm.largest_difference(ours.model, theirs.model) == 0.0


def test_our_log_probabilities_train_like_trls(qwen, tmp_path):
    by_trl, by_percbal = (
        train(qwen, tmp_path, learning_rate=1e-3, logprobs=how) for how in ("trl", "percbal")
    )
    assert vlm.largest_difference(by_trl.model, by_percbal.model) < 5e-5


@pytest.mark.parametrize("credit", ["segment", "same_perception"])
def test_credit_by_segment_reaches_the_vision_tower(qwen, tmp_path, credit):
    trainer = train(qwen, tmp_path, credit=credit, alpha=0.5)
    logs = [log for log in trainer.state.log_history if "segments/perception_share" in log]
    assert 0 < max(log["segments/perception_share"] for log in logs) < 1
    before = dict(qwen[0].named_parameters())
    moved = {
        name.split(".")[1]
        for name, value in trainer.model.named_parameters()
        if not torch.equal(value, before[name])
    }
    assert {"visual", "language_model"} <= moved


def dependence(completions, masked_image_kl, **_):
    """The column that the trainer makes, whether or not there is a perception to pay for."""
    return masked_image_kl


def test_the_image_matters_to_what_is_said(qwen, tmp_path):
    rewards = (others, even, masked_image_kl, dependence)
    trainer = train(qwen, tmp_path, rewards, measured=["masked_image_kl", "dependence"])
    logs = [log for log in trainer.state.log_history if "reward" in log]
    assert logs and all(log["rewards/dependence/mean"] > 0 for log in logs)
    assert all(log["rewards/dependence/unscored"] == 0 for log in logs)
