"""Facts about training on two processes (DDP, gloo on the CPU): it is the same training."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
import vlm_fixtures as vlm
from accelerate import Accelerator
from ddp_worker import of_one_process
from two_processes import two_processes

from percbal.models.loading import load_vlm
from percbal.objective.balance import Balance, Seen, lambda_weights
from percbal.objective.calibrated import Calibrated
from percbal.objective.ngdiff import Head
from percbal.sft import segment_head
from percbal.sft.trainer import BalancedSFTTrainer

EXAMPLES = [vlm.example_at(i) for i in range(16)]
SAME_AS_ONE = (
    "fixed",
    "ngdiff",
    "fixed+chunked",
    "ngdiff+chunked",
    "ngdiff_unbiased",
    "ngdiff_unbiased+at_once",
    "calibrated+at_once",
    "calibrated+chunked",
    "head+chunked",
)
BY_ITSELF = {  # by what the rule of each learns again, and which steps are exact
    "head+chunked+at_once": (Head(), [False, False]),
    "calibrated+chunked+at_once": (Calibrated(tolerance=9.0), [True, True, False, True]),
}


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    return load_vlm(vlm.tiny_llava(tmp_path_factory.mktemp("llava")))


@pytest.fixture(scope="module")
def by_two(llava, tmp_path_factory):
    """Where two processes have trained all of them."""
    directory = tmp_path_factory.mktemp("ddp")
    model, processor = llava
    model.save_pretrained(directory / "model")
    processor.save_pretrained(directory / "model")
    runs = (*SAME_AS_ONE, *BY_ITSELF)
    two_processes(Path(__file__).with_name("ddp_worker.py"), directory, "ddp", *runs)
    return directory


def by_two_logs(directory, run):
    return json.loads((directory / f"{run}.json").read_text())


def compare(trainer, directory, run, names):
    both = type(trainer.model).from_pretrained(directory / run)
    assert vlm.largest_difference(trainer.model, both) < 1e-6
    logs = by_two_logs(directory, run)
    for name in ["loss", "loss_p", "loss_r", "lambda", "n_p", "n_r", *names]:
        theirs = [entry[name] for entry in logs if name in entry]
        assert vlm.history(trainer, name) == pytest.approx(theirs, rel=1e-5), name


@pytest.mark.parametrize("run", SAME_AS_ONE)
def test_two_processes_equal_one(llava, by_two, run, tmp_path):
    model, processor = llava
    data, options = vlm.encoded(processor, EXAMPLES), of_one_process(run)
    whole = vlm.train(copy.deepcopy(model), processor, data, vlm.config(tmp_path, **options))
    by_head = run in ("head+chunked", "calibrated+chunked")
    norms = [] if options["balance"] in ("fixed", "head") else ["grad_norm_p"]
    compare(whole, by_two, run, [*norms, f"grad_norm_{'head' if by_head else 'logits'}_r"])
    found = whole.evaluate(vlm.encoded(processor, EXAMPLES[:9]))  # two ranks have 8 and 8
    (theirs,) = [entry for entry in by_two_logs(by_two, run) if "eval_loss" in entry]
    for name in ("eval_loss", "eval_loss_p", "eval_loss_r"):
        assert theirs[name] == pytest.approx(found[name], rel=1e-5), name


def test_an_epoch_that_two_ranks_resume_in_its_middle_has_its_own_order(llava, by_two):
    whole, rest = (load_vlm(by_two / "resumed" / run / "final")[0] for run in ("whole", "rest"))
    assert vlm.largest_difference(whole, llava[0]) > 1e-3
    assert vlm.largest_difference(whole, rest) == 0.0


@pytest.mark.parametrize(
    ("chunked", "operator"),
    [(False, "segment_cross_entropy"), (True, "linear_segment_cross_entropy")],
)
def test_a_loss_of_several_ranks_goes_back_by_a_factor_of_one(
    llava, tmp_path, monkeypatch, chunked, operator
):
    """Its gradient, which the operator has finished, would be read and written again by another."""
    model, processor = llava
    data = vlm.encoded(processor, EXAMPLES)
    trainer = BalancedSFTTrainer(
        copy.deepcopy(model),
        vlm.config(tmp_path, balance="fixed", chunked_logits=chunked),
        train_dataset=data,
        processing_class=processor,
    )
    batch = trainer.data_collator([data[i] for i in range(4)])
    trainer.model.train()
    alone = trainer.compute_loss(trainer.model, dict(batch)).item()
    factors, compute = [], getattr(segment_head, operator)

    def watched(*args, **kwargs):
        result = compute(*args, **kwargs)
        result.loss.register_hook(lambda factor: factors.append(float(factor)))
        return result

    monkeypatch.setattr(segment_head, operator, watched)
    monkeypatch.setattr(Accelerator, "num_processes", property(lambda self: 3))
    loss = trainer.compute_loss(trainer.model, dict(batch))
    loss.backward()
    assert loss.item() == pytest.approx(3 * alone)
    assert factors == [1.0]


class Replayed(Balance):
    """The lambdas of another run, one for each step."""

    observes = True
    stand_in = "head"

    def __init__(self, lambdas):
        self.lambdas, self.step = lambdas, 0

    def observe(self, seen):
        self.step = seen.step + 1

    def weights(self, counts):
        return lambda_weights(self.lambdas[min(self.step, len(self.lambdas) - 1)], counts.device)


@pytest.mark.parametrize("run", BY_ITSELF)
def test_a_step_of_two_processes_is_weighed_by_the_heads_norms_of_both(
    llava, by_two, run, tmp_path
):
    """One process needs two micro-batches for these norms, and is told the weights."""
    model, processor = llava
    logs = by_two_logs(by_two, run)
    logs = [entry for entry in logs if "lambda" in entry]
    halves = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
    made = BalancedSFTTrainer(
        copy.deepcopy(model),
        vlm.config(tmp_path, max_steps=len(logs), chunked_logits=True, **halves),
        train_dataset=vlm.encoded(processor, EXAMPLES),
        processing_class=processor,
        balance=Replayed([entry["lambda"] for entry in logs]),
    )
    made.train()
    compare(made, by_two, run, ["grad_norm_head_p", "grad_norm_head_r"])
    rule, expected = BY_ITSELF[run]
    assert [_learns(rule, step, entry) for step, entry in enumerate(logs)] == expected


def _learns(rule, step, entry) -> bool:
    """Shows a rule what the step logged, which explains its lambda; whether it was exact."""

    def logged(name):
        return torch.tensor([entry[f"{name}_{segment}"] for segment in "pr"])

    exact = "grad_norm_p" in entry
    assert exact == rule.due(logged("n"))
    gradient = logged("grad_norm") if exact else None
    norms = logged("grad_norm_head")
    rule.observe(Seen(step, logged("n"), logged("loss"), norms, gradient, "head"))
    assert float(rule.weights(torch.ones(2))[0]) == pytest.approx(entry["lambda"], rel=1e-5)
    return exact
