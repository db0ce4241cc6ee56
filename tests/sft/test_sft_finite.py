"""Facts about values that are not finite: no weight is touched by them, and the rows are named."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path

import pytest
import torch
import vlm_fixtures as vlm
from two_processes import two_processes

from percbal.models.finite import NonFiniteError, bad_inputs
from percbal.models.resume import last_checkpoint
from percbal.objective.balance import Balance
from percbal.sft.trainer import BalancedSFTTrainer

EXAMPLES = [vlm.example_at(i) for i in range(16)]
BAD = 9  # in the second batch of 8
BALANCES = ("token_mean", "fixed", "ngdiff")
VALUES = {"nan": math.nan, "infinite": math.inf, "huge": 1e30}


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    return vlm.model_and_data("llava", tmp_path_factory.mktemp("model"), EXAMPLES)


def make(llava, out, value=math.nan, bad=(BAD,), **options) -> BalancedSFTTrainer:
    model, processor, data = llava
    data = copy.deepcopy(data)
    for row in bad:
        data.columns["pixel_values"][row, 0, 3, 3] = value
    return BalancedSFTTrainer(
        copy.deepcopy(model),
        vlm.config(out, **({"max_steps": 4} | options)),
        train_dataset=data,
        processing_class=processor,
    )


def all_finite(model: torch.nn.Module) -> bool:
    return all(bool(p.isfinite().all()) for p in model.parameters())


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("balance", BALANCES)
def test_a_run_stops_before_its_weights_are_touched(llava, tmp_path, balance, value):
    one_step = make(llava, tmp_path, bad=(), balance=balance, max_steps=1)
    one_step.train()
    trainer = make(llava, tmp_path, VALUES[value], balance=balance)
    with pytest.raises(NonFiniteError, match=r"the gradient of step 2 is (nan|inf)") as stopped:
        trainer.train()
    assert vlm.largest_difference(trainer.model, one_step.model) == 0.0
    what = "the logits" if value == "huge" else "pixel_values"
    assert f"not finite: {what} of row {BAD - 8} ('" in str(stopped.value)
    # the weights are kept, and can be gone on from
    assert last_checkpoint(tmp_path).endswith("checkpoint-1")
    assert "checkpoint-1" in str(stopped.value)


def test_good_checkpoints_are_not_rotated_out(llava, tmp_path):
    options = {"save_strategy": "steps", "save_steps": 1, "save_total_limit": 1, "max_steps": 30}
    with pytest.raises(NonFiniteError):
        make(llava, tmp_path, **options).train()
    resumed = make(llava, tmp_path, bad=(), **(options | {"max_steps": 2}))
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == 2 and all_finite(resumed.model)


@pytest.mark.parametrize("balance", BALANCES)
def test_such_steps_can_be_skipped_and_are_counted(llava, tmp_path, balance):
    trainer = make(llava, tmp_path, on_nonfinite="skip", balance=balance, optim="adamw_torch")
    trainer.train()
    assert trainer.state.global_step == 4 and all_finite(trainer.model)
    assert vlm.largest_difference(trainer.model, llava[0]) > 0
    counts = [entry.get("nonfinite_steps", 0) for entry in trainer.state.log_history]
    assert counts == [0, 1, 1, 2, 2]  # each epoch has one; the last entry is the end's
    lam = vlm.history(trainer, "lambda")
    assert all(map(math.isfinite, lam)), "the balance has not heard of it"


def test_a_skipped_step_moves_nothing(llava, tmp_path):
    """Not even by momentum or weight decay."""
    options = {"optim": "adamw_torch", "weight_decay": 0.1, "on_nonfinite": "skip"}
    one = make(llava, tmp_path, bad=(), max_steps=1, **options)
    one.train()
    two = make(llava, tmp_path, max_steps=2, **options)
    two.train()
    assert vlm.largest_difference(one.model, two.model) == 0.0


class ByLoss(Balance):
    """Weights in proportion to running means of the losses, which one NaN would spoil for good."""

    observes = True

    def __init__(self) -> None:
        self.means = [1.0, 1.0]

    def observe(self, seen):
        new = seen.losses.tolist()
        self.means = [(a + b) / 2 for a, b in zip(self.means, new, strict=True)]

    def weights(self, counts):
        means = torch.tensor(self.means, device=counts.device)
        return means / means.sum()

    def state_dict(self):
        return {"means": self.means}

    def load_state_dict(self, state):
        self.means = state["means"]


# ngdiff and head are not among them: they pass over a norm that is not finite by themselves
LEARNING = {
    "ngdiff_unbiased": {
        "balance": "ngdiff_unbiased",
        "ngdiff_decay": 0.9,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
    },
    "calibrated": {"balance": "calibrated"},
    "calibrated in chunks": {"balance": "calibrated", "chunked_logits": True},
    "a rule of one's own": {"balance": f"{__name__}:ByLoss"},
}


@pytest.mark.parametrize("first", [True, False], ids=["in the first step", "in the second"])
@pytest.mark.parametrize("options", LEARNING.values(), ids=LEARNING)
def test_the_balance_learns_nothing_of_such_a_step(llava, tmp_path, options, first):
    bad = (BAD - 8 if first else BAD,)
    known = make(llava, tmp_path, bad=(), max_steps=1, **options)
    if not first:
        known.train()
    skipped = make(llava, tmp_path, bad=bad, max_steps=2 - first, on_nonfinite="skip", **options)
    skipped.train()
    assert skipped.state.log_history[-1]["nonfinite_steps"] == 1
    assert skipped.balance.state_dict() == known.balance.state_dict()
    stopped = make(llava, tmp_path / "stopped", bad=bad, **options)
    with pytest.raises(NonFiniteError):
        stopped.train()
    assert stopped.balance.state_dict() == known.balance.state_dict()
    if not first:
        kept = json.loads((tmp_path / "stopped/checkpoint-1/balance_state.json").read_text())
        del kept["segment_names"]
        assert kept == json.loads(json.dumps(known.balance.state_dict()))


def test_too_many_in_a_row_end_the_run(llava, tmp_path):
    trainer = make(
        llava, tmp_path, bad=range(16), on_nonfinite="skip", max_nonfinite_steps=3, max_steps=9
    )
    with pytest.raises(NonFiniteError, match="step 3 is nan, as those of 2 steps before it"):
        trainer.train()
    assert vlm.largest_difference(trainer.model, llava[0]) == 0.0


def test_the_micro_batch_of_the_row_is_named(llava, tmp_path):
    options = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    with pytest.raises(NonFiniteError, match=r"pixel_values of row 1 \('.*'\) \(micro-batch 0\)"):
        make(llava, tmp_path, **options).train()


def test_options_that_mean_nothing_are_refused(llava, tmp_path):
    with pytest.raises(ValueError, match="on_nonfinite must be stop or skip, got 'ignore'"):
        make(llava, tmp_path, on_nonfinite="ignore")
    with pytest.raises(ValueError, match="max_nonfinite_steps must be at least 1, got 0"):
        make(llava, tmp_path, max_nonfinite_steps=0)


def test_values_of_unknown_rows_are_named_without_them():
    flat = torch.zeros(10, 4)  # patches of all images
    flat[7, 1] = math.inf
    inputs = {"input_ids": torch.zeros(3, 5, dtype=torch.int64), "pixel_values": flat}
    assert bad_inputs(inputs) == ("pixel_values", [])
    assert bad_inputs({**inputs, "pixel_values": torch.zeros(10, 4)}) is None


@pytest.mark.parametrize("engine", ["ddp", pytest.param("fsdp2", marks=pytest.mark.slow)])
def test_all_ranks_stop_alike_and_name_the_row(llava, tmp_path, engine):
    model, processor, _ = llava
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    two_processes(Path(__file__).with_name("nonfinite_worker.py"), tmp_path, engine)
    said = [(tmp_path / f"rank{rank}.txt").read_text() for rank in (0, 1)]
    assert said[0] == said[1], "the row is on one rank alone"
    assert "the gradient of step 2 is nan" in said[0] and "pixel_values of row" in said[0]
