"""GRPO's log-probabilities of a batch are those of each rollout alone, for every family."""

from __future__ import annotations

import pytest
import torch
from zoo import WORKING
from zoo_grpo import rows, trainer

from percbal.grpo.position_guard import difference_alone


@pytest.mark.parametrize("name", WORKING)
def test_every_rollout_of_a_batch_counts_as_it_does_alone(name, tmp_path):
    made = trainer(name, tmp_path)
    made.model.train()
    batch = made._generate_and_score_completions([row for row in rows() for _ in range(2)])
    assert len({int(n) for n in batch["prompt_mask"].sum(1)}) > 2
    made.model.eval()
    for row in range(0, 12, 2):
        ids = batch["completion_ids"][row][batch["completion_mask"][row].bool()].tolist()
        alone = made._encoded([made._prompts[row]])
        kept = batch["prompt_mask"][row].bool()
        assert alone.ids == [batch["prompt_ids"][row][kept].tolist()]
        found, rounding = difference_alone(made, batch, row, alone, ids)
        assert found < 2e-5, (row, found, rounding)


@pytest.mark.parametrize("name", WORKING)
def test_a_step_is_made(name, tmp_path):
    made = trainer(name, tmp_path, learning_rate=1e-3)
    before = {k: v.clone() for k, v in made.model.named_parameters()}
    made.train()
    assert any(not torch.equal(v, before[k]) for k, v in made.model.named_parameters())
