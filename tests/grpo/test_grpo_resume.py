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


def run(policy, out, resume=None, rewards=None, **options):
    torch.manual_seed(0)
    model, processor = policy
    options = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2} | options
    trainer = rl.trainer((copy.deepcopy(model), processor), out, rewards, **options)
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


def resumed_from(policy, folder, step, rewards=None, **options):
    """A run that was never interrupted, and one that goes on from one of its checkpoints."""
    whole = run(policy, folder / "whole", rewards=rewards, **options)
    start = folder / "rest" / f"checkpoint-{step}"
    shutil.copytree(folder / "whole" / start.name, start)
    return whole, run(policy, folder / "rest", str(start), rewards, **options)


@pytest.mark.parametrize(
    ("step", "options"),
    [
        (10, {"max_steps": 12, "save_steps": 10}),  # 16 prompts, two a step: the second epoch
        (2, {"num_iterations": 2}),  # a whole period of reuse
        # 16 steps an epoch, in periods of four
        (20, {"max_steps": 22, "save_steps": 20, "num_iterations": 2, "generation_batch_size": 16}),
    ],
    ids=["second epoch", "reuse", "reuse in the second epoch"],
)
def test_it_does_in_a_second_epoch_and_behind_a_reuse(policy, step, options, tmp_path):
    whole, rest = resumed_from(policy, tmp_path, step, **options)
    assert vlm.largest_difference(whole.model, policy[0]) > 1e-3
    assert vlm.largest_difference(whole.model, rest.model) == 0.0


@pytest.mark.parametrize(
    "options",
    [
        {"num_iterations": 3},
        {"generation_batch_size": 24},
        {"num_iterations": 3, "gradient_accumulation_steps": 2, "steps_per_generation": 2},
    ],
    ids=["iterations", "a large generation batch", "accumulation"],
)
def test_a_run_resumed_in_a_reuse_keeps_its_period(policy, options, tmp_path, caplog):
    """Step 4 is the first of a period of three: its prompts are sampled anew, the next are not."""
    asked = []

    def outcome(completions, answer, trainer_state, **columns):
        asked.append((trainer_state.global_step, answer))
        return rl.outcome(completions, answer, **columns)

    options |= {"max_steps": 8, "save_steps": 4}
    resumed_from(policy, tmp_path, 4, [outcome, rl.perception], **options)
    numbers = [step for step, _ in asked]
    assert numbers == [0, 3, 6, 4, 6]
    prompts = [answers for _, answers in asked]
    assert prompts[3:] == prompts[1:3]
    (said,) = [r.getMessage() for r in caplog.records if "within the reuse" in r.getMessage()]
    assert "every 3 steps" in said


def test_a_reference_that_was_synced_is_in_no_checkpoint(policy, tmp_path):
    options = {"beta": 0.1, "sync_ref_model": True, "ref_model_sync_steps": 3, "save_steps": 2}
    resumed_from(policy, tmp_path / "before", 2, **options)
    with pytest.raises(ValueError, match="checkpoint-4 cannot be gone on from: .*sync_ref_model"):
        resumed_from(policy, tmp_path / "behind", 4, **options)


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
