"""Facts about checkpoints of GRPO: a resumed run is the run that was never interrupted."""

from __future__ import annotations

import copy
import json
import shutil

import pytest
import rl_fixtures as rl
import torch
import vlm_fixtures as vlm

from percbal.grpo.learnt import Learnt
from percbal.models.checkpoint import ALPHA_FILE
from percbal.models.manifest import MANIFEST
from percbal.objective.alpha import FixedAlpha
from percbal.objective.balance import Balance, Fixed, lambda_weights


class Drift(Balance):
    """A rule with a state: perception's weight goes from 0.9 to 0.1 as it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def weights(self, counts: torch.Tensor) -> torch.Tensor:
        self.asked += 1
        return lambda_weights(max(0.1, 1.1 - 0.2 * self.asked), counts.device)

    def state_dict(self):
        return {"asked": self.asked}

    def load_state_dict(self, state):
        self.asked = state["asked"]


def run(policy, out, resume=None, **options):
    torch.manual_seed(0)
    model, processor = policy
    options = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2} | options
    trainer = rl.trainer((copy.deepcopy(model), processor), out, **options)
    trainer.train(resume_from_checkpoint=resume)
    return trainer


OPTIONS = {
    "fixed": {},
    "coupling": {"alpha_rule": "coupling"},
    "rule": {"balance": f"{__name__}:Drift"},
    "both": {"alpha_rule": "coupling", "balance": f"{__name__}:Drift"},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
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
    assert whole.balance.state_dict() == resumed.balance.state_dict()


def test_a_checkpoint_that_lacks_the_state_of_a_rule_is_refused():
    older = Learnt(FixedAlpha(0.5), Fixed(0.5)).alpha.state_dict()
    Learnt(FixedAlpha(0.5), Fixed(0.5)).load_state_dict(older)  # which has none
    with pytest.raises(ValueError, match="older version holds no state of the balance Drift"):
        Learnt(FixedAlpha(0.5), Drift()).load_state_dict(older)


def test_it_is_refused_by_name_before_anything_is_loaded(policy, tmp_path):
    rule = OPTIONS["rule"]
    run(policy, tmp_path, max_steps=2, **rule)
    older = tmp_path / "checkpoint-2"
    (older / MANIFEST).unlink()
    state = json.loads((older / ALPHA_FILE).read_text())
    del state["balance"]
    (older / ALPHA_FILE).write_text(json.dumps(state))
    model = copy.deepcopy(policy[0])
    trainer = rl.trainer((model, policy[1]), tmp_path, **rule, max_steps=4)
    sentence = "checkpoint-2 cannot be gone on from by its alpha_state.json: .* state of the balanc"
    with pytest.raises(ValueError, match=sentence):
        trainer.train(resume_from_checkpoint=str(older))
    assert vlm.largest_difference(model, policy[0]) == 0.0
    assert trainer.balance.asked == 0


def test_the_state_of_both_is_one_for_json():
    drift = Drift()
    drift.weights(torch.ones(2))
    state = json.loads(json.dumps(Learnt(FixedAlpha(0.5), drift).state_dict()))
    other = Drift()
    Learnt(FixedAlpha(0.5), other).load_state_dict(state)
    assert other.asked == 1
