"""Facts about checkpoints of GRPO: a resumed run is the run that was never interrupted."""

from __future__ import annotations

import copy
import shutil

import pytest
import rl_fixtures as rl
import torch
import vlm_fixtures as vlm


def run(policy, out, resume=None, **options):
    torch.manual_seed(0)
    model, processor = policy
    options = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2} | options
    trainer = rl.trainer((copy.deepcopy(model), processor), out, **options)
    trainer.train(resume_from_checkpoint=resume)
    return trainer


@pytest.mark.parametrize("options", [{}, {"alpha_rule": "coupling"}], ids=["fixed", "coupling"])
def test_resumed_run_equals_the_uninterrupted_one(policy, options, tmp_path):
    whole = run(policy, tmp_path / "whole", **options)
    shutil.copytree(tmp_path / "whole" / "checkpoint-2", tmp_path / "rest" / "checkpoint-2")
    resumed = run(policy, tmp_path / "rest", str(tmp_path / "rest" / "checkpoint-2"), **options)
    assert vlm.largest_difference(whole.model, policy[0]) > 1e-3
    assert vlm.largest_difference(whole.model, resumed.model) == 0.0
    for name in ("rewards/outcome/mean", "alpha", "loss"):
        values = [
            [entry[name] for entry in trainer.state.log_history if name in entry]
            for trainer in (whole, resumed)
        ]
        assert values[0] == values[1], name
