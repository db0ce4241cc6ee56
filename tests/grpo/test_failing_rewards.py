"""A reward that fails or does not score loses no rollout, and no rollout is credited with it."""

from __future__ import annotations

import copy
import json

import pytest
import rl_fixtures as rl


def fails_at(call: int):
    calls = []

    def perception(completions, **_):
        calls.append(len(completions))
        if len(calls) == call:
            raise KeyError("grid")
        return [1.0] * len(completions)

    return perception


def test_a_failing_reward_stops_the_run_and_loses_nothing(policy, tmp_path):
    from percbal.grpo.guard import RewardError
    from percbal.models.resume import last_checkpoint

    sentence = r"reward function perception failed: KeyError: 'grid' after step 1; the rollouts are"
    with pytest.raises(RewardError, match=sentence) as stopped:
        rl.train(policy, tmp_path, [rl.outcome, fails_at(2)], save_strategy="steps", save_steps=50)
    assert isinstance(stopped.value.__cause__, KeyError), "with the place where it was raised"
    rows = (tmp_path / "failed_step00001_rank0.jsonl").read_text().splitlines()
    assert len(rows) == 8 and json.loads(rows[0])["completion"][0]["content"]
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-1")
    trainer = rl.trainer((copy.deepcopy(policy[0]), policy[1]), tmp_path)
    trainer.train(resume_from_checkpoint=last_checkpoint(tmp_path))
    assert trainer.state.global_step == 3


def test_a_failing_reward_can_be_skipped_and_is_counted(policy, tmp_path):
    skipped = {"on_reward_error": "skip", "credit": "same_perception"}
    trainer = rl.train(policy, tmp_path, [rl.outcome, fails_at(2)], **skipped)
    entries = [e for e in trainer.state.log_history if "alpha" in e]
    assert [e["rewards/failed_calls"] for e in entries] == [0, 1, 0]
    assert [e["rewards/perception/unscored"] for e in entries] == [0, 1, 0]
    assert entries[1]["grad_norm"] == 0, "no rollout has a mixed reward"


def test_unscored_rollouts_are_counted_and_have_no_advantage(policy, tmp_path):
    def outcome(completions, **_):
        return [None if i % 4 == 0 else float(i % 4) for i in range(len(completions))]

    trainer, batch, _ = rl.rollouts(policy, tmp_path, rewards=[outcome, rl.perception])
    assert not batch["advantages"][::4].any() and batch["advantages"][1].any()
    assert trainer._metrics["train"]["rewards/outcome/unscored"] == [0.25]
