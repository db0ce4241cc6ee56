"""Facts about values that are not finite in GRPO: no weight is touched by them."""

from __future__ import annotations

import copy
import math
from unittest.mock import Mock

import pytest
import rl_fixtures as rl
import torch
import vlm_fixtures as vlm

from percbal.grpo.trainer import BalancedGRPOTrainer
from percbal.models.finite import NonFiniteError
from percbal.models.resume import last_checkpoint


class Poisoned(BalancedGRPOTrainer):
    """The advantages of one rollout are NaN in the second batch."""

    batches = 0

    def _generate_and_score_completions(self, inputs):
        batch = super()._generate_and_score_completions(inputs)
        self.batches += 1
        if self.batches == 2:
            batch["advantages"] = batch["advantages"].clone()
            batch["advantages"][3] = math.nan
        return batch


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    return rl.tiny_policy(tmp_path_factory.mktemp("policy"))


def make(policy, out, kind=Poisoned, **options):
    torch.manual_seed(0)
    model, processor = policy
    return rl.trainer((copy.deepcopy(model), processor), out, kind=kind, **options)


def test_a_run_stops_before_its_weights_are_touched(policy, tmp_path):
    one_step = make(policy, tmp_path / "one", BalancedGRPOTrainer, max_steps=1)
    one_step.train()
    trainer = make(policy, tmp_path / "two")
    sentence = r"the gradient of step 2 is nan; not finite: advantages of row \d \('look'\)"
    with pytest.raises(NonFiniteError, match=sentence):
        trainer.train()
    assert vlm.largest_difference(trainer.model, one_step.model) == 0.0
    assert last_checkpoint(tmp_path / "two").endswith("checkpoint-1")


def test_training_that_begins_again_takes_no_rollouts_that_are_left(policy, tmp_path):
    """Of a generation cycle that was interrupted after its first step."""
    trainer = make(policy, tmp_path, BalancedGRPOTrainer, max_steps=1, num_iterations=2)
    trainer.train()
    assert trainer._step == 1 and trainer._buffered_inputs
    sampled = trainer._generate_and_score_completions
    trainer._generate_and_score_completions = Mock(side_effect=sampled)
    trainer.train()
    assert trainer._generate_and_score_completions.call_count == 1


def test_such_steps_can_be_skipped_and_are_counted(policy, tmp_path):
    trainer = make(policy, tmp_path, on_nonfinite="skip")
    trainer.train()
    assert trainer.state.global_step == 3
    assert all(bool(p.isfinite().all()) for p in trainer.model.parameters())
    counts = [e.get("nonfinite_steps", 0) for e in trainer.state.log_history if "alpha" in e]
    assert counts == [0, 1, 1]
