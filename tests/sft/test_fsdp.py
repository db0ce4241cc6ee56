"""Facts about sharded training (FSDP2, two gloo processes on the CPU): it is the same training."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import vlm_fixtures as vlm
from accelerate import Accelerator
from ddp_worker import of_one_process
from two_processes import two_processes

from percbal.models.checkpoint import VLMCheckpoints
from percbal.models.loading import load_vlm
from percbal.sft.segment_gradients import WholeGradients, make_segment_gradients

HERE = Path(__file__).parent
RUNS = (
    "token_mean",
    "fixed",
    "ngdiff",
    "fixed+chunked",
    "ngdiff+chunked",
    "calibrated",
    "ngdiff_unbiased",
    "calibrated+chunked",
    "head+chunked",
)
STATE_DICTS = ("FULL_STATE_DICT", "SHARDED_STATE_DICT")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Directory, the initial model and its processor; everything is trained under FSDP2."""
    directory = tmp_path_factory.mktemp("fsdp")
    model, processor = load_vlm(vlm.tiny_llava(directory / "base", layers=2))
    model.save_pretrained(directory / "model")
    processor.save_pretrained(directory / "model")
    two_processes(HERE / "fsdp_worker.py", directory, ",".join(RUNS), ",".join(STATE_DICTS))
    return directory, model, processor


@pytest.mark.parametrize("run", RUNS)
def test_two_sharded_processes_equal_one(trained, run, tmp_path):
    """2 processes x 2 micro-batches x 2 examples = 8 examples at once, of unequal segments."""
    directory, model, processor = trained
    balance, *how = run.split("+")
    data = vlm.encoded(processor, [vlm.example_at(i) for i in range(16)])
    args = vlm.config(tmp_path, **of_one_process(run, "fsdp2"))
    whole = vlm.train(copy.deepcopy(model), processor, data, args)
    whole.evaluate(vlm.encoded(processor, [vlm.example_at(i) for i in range(9)]))  # of ddp_worker
    sharded = type(model).from_pretrained(directory / run)
    assert vlm.largest_difference(whole.model, model) > 1e-3
    assert vlm.largest_difference(whole.model, sharded) < 1e-6
    theirs = json.loads((directory / f"{run}.json").read_text())
    names = ["loss", "loss_p", "loss_r", "lambda", "n_p", "n_r", "eval_loss_p", "eval_loss_r"]
    of_head = "chunked" in how and balance in ("calibrated", "head")
    names += ["grad_norm_head_p" if of_head else "grad_norm_logits_r"]
    exact = balance in ("ngdiff", "ngdiff_unbiased", "calibrated")
    for name in names + (["grad_norm_p", "grad_norm_r"] if exact else []):
        ours, others = (
            [entry[name] for entry in logs if name in entry]
            for logs in (whole.state.log_history, theirs)
        )
        assert ours == pytest.approx(others, rel=1e-5), name


@pytest.mark.parametrize("kind", STATE_DICTS)
def test_a_sharded_run_resumes_where_it_stopped(trained, kind):
    directory, initial, _ = trained
    whole, rest = (
        type(initial).from_pretrained(directory / kind / run / "final") for run in ("whole", "rest")
    )
    assert vlm.largest_difference(whole, initial) > 1e-3
    assert vlm.largest_difference(whole, rest) == 0.0
    lambdas = [
        [entry["lambda"] for entry in json.loads(text)["log_history"] if "lambda" in entry]
        for text in (
            (directory / kind / run / "state.json").read_text() for run in ("whole", "rest")
        )
    ]
    assert lambdas[0] == lambdas[1] and len(set(lambdas[0])) == 4


@pytest.mark.parametrize("kind", STATE_DICTS)
def test_a_checkpoint_of_the_other_engine_is_refused(trained, kind, tmp_path):
    """Without its optimizer's state the run would go on otherwise than it began."""
    directory, model, _ = trained
    plain = SimpleNamespace(model=model, is_fsdp_enabled=False, is_deepspeed_enabled=False)
    written = directory / kind / "whole" / "checkpoint-2"
    with pytest.raises(ValueError, match="was written under FSDP and cannot be resumed without it"):
        VLMCheckpoints._load_from_checkpoint(plain, str(written))
    sharded = SimpleNamespace(model=model, is_fsdp_enabled=True, is_deepspeed_enabled=False)
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="was written without FSDP and cannot be resumed under it"):
        VLMCheckpoints._load_from_checkpoint(sharded, str(tmp_path))


def test_unsharded_training_takes_one_forward_pass():
    assert isinstance(make_segment_gradients(Accelerator(cpu=True), 2), WholeGradients)
    assert not torch.distributed.is_initialized()
