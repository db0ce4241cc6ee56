"""Facts about checkpoints: a resumed run is the run that was never interrupted."""

from __future__ import annotations

import copy
import shutil

import pytest
import torch
import vlm_fixtures as vlm
from safetensors.torch import load_file, save_file

from percbal.models.checkpoint import BALANCE_FILE, load_state, refuse_state
from percbal.models.resume import last_checkpoint
from percbal.models.weights import load_weights
from percbal.objective.ngdiff import NGDiff
from percbal.sft.trainer import BalancedSFTTrainer

EXAMPLES = [vlm.example_at(i) for i in range(16)]


@pytest.fixture(scope="module", params=["llava", "qwen"])
def vlm_and_data(request, tmp_path_factory):
    return vlm.model_and_data(request.param, tmp_path_factory.mktemp("model"), EXAMPLES)


def make(vlm_and_data, out, **options) -> BalancedSFTTrainer:
    model, processor, data = vlm_and_data
    options = {"optim": "adamw_torch", "learning_rate": 1e-2, "max_steps": 4} | options
    options = {"save_steps": 2, "train_sampling_strategy": "random"} | options
    options |= {"save_strategy": "steps"}
    return BalancedSFTTrainer(
        copy.deepcopy(model),
        vlm.config(out, **options),
        train_dataset=data,
        eval_dataset=data,
        processing_class=processor,
    )


@pytest.mark.parametrize(
    "options",
    [
        {"balance": "fixed"},
        {"balance": "ngdiff", "ngdiff_decay": 0.9},
        {
            "balance": "ngdiff_unbiased",
            "ngdiff_decay": 0.9,
            "per_device_train_batch_size": 2,
            "gradient_accumulation_steps": 4,
        },
        # the checkpoint at step 2 is between two exact steps
        {"balance": "calibrated", "calibrated_tolerance": 9.0},
        {"balance": "head", "chunked_logits": True, "ngdiff_decay": 0.9},
    ],
)
def test_resumed_run_equals_the_uninterrupted_one(vlm_and_data, options, tmp_path):
    whole = make(vlm_and_data, tmp_path / "whole", **options)
    whole.train()
    shutil.copytree(tmp_path / "whole" / "checkpoint-2", tmp_path / "rest" / "checkpoint-2")
    resumed = make(vlm_and_data, tmp_path / "rest", **options)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == 4
    assert vlm.largest_difference(whole.model, vlm_and_data[0]) > 1e-3
    assert vlm.largest_difference(whole.model, resumed.model) == 0.0
    for name in ("loss", "loss_p", "lambda"):
        values = [
            [entry[name] for entry in trainer.state.log_history if name in entry]
            for trainer in (whole, resumed)
        ]
        assert values[0] == values[1], name


def test_a_finished_run_that_is_gone_on_from_takes_no_further_step(vlm_and_data, tmp_path):
    """Its end is within an epoch of 4 steps: the Trainer's own loop would take a step, and save."""
    options = {"balance": "fixed", "max_steps": 6, "per_device_train_batch_size": 4}
    whole = make(vlm_and_data, tmp_path, **options)
    whole.train()
    for _ in range(2):
        again = make(vlm_and_data, tmp_path, **options)
        again.train(resume_from_checkpoint=True)
        assert again.state.global_step == 6
        assert vlm.largest_difference(whole.model, again.model) == 0.0
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} >= {"checkpoint-6"}
    assert not (tmp_path / "checkpoint-7").exists()


def test_resume_within_a_later_epoch_sees_the_same_length_grouped_batches(vlm_and_data, tmp_path):
    """16 examples in batches of 4: step 6 is in the second epoch."""
    options = {
        "balance": "fixed",
        "max_steps": 8,
        "save_steps": 6,
        "per_device_train_batch_size": 4,
        "train_sampling_strategy": "group_by_length",
    }
    whole = make(vlm_and_data, tmp_path / "whole", **options)
    whole.train()
    shutil.copytree(tmp_path / "whole" / "checkpoint-6", tmp_path / "rest" / "checkpoint-6")
    torch.manual_seed(123)  # whatever else drew random numbers meanwhile
    resumed = make(vlm_and_data, tmp_path / "rest", **options)
    resumed.train(resume_from_checkpoint=last_checkpoint(tmp_path / "rest"))
    assert vlm.largest_difference(whole.model, resumed.model) == 0.0


def test_each_parameter_is_loaded_in_its_own_dtype(vlm_and_data, tmp_path):
    """As `cast_lm_head_to_fp32` leaves a model of bf16: its head is not rounded to bf16."""
    model = copy.deepcopy(vlm_and_data[0]).to(torch.bfloat16)
    model.lm_head.float()
    with torch.no_grad():
        model.lm_head.weight.add_(1e-4)  # which bf16 does not have
    model.save_pretrained(tmp_path)
    again = copy.deepcopy(model)
    with torch.no_grad():
        for weight in again.parameters():
            weight.zero_()
    load_weights(again, tmp_path)
    for name, weight in again.named_parameters():
        assert weight.dtype == model.get_parameter(name).dtype, name
        assert torch.equal(weight, model.get_parameter(name)), name


def test_weights_that_lack_a_parameter_are_refused(vlm_and_data, tmp_path):
    model = vlm_and_data[0]
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    gone = next(name for name in tensors if "q_proj.weight" in name)
    save_file({k: v for k, v in tensors.items() if k != gone}, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match="lacks 1 of the model's parameters: .*q_proj.weight"):
        load_weights(copy.deepcopy(model), tmp_path)


def test_ngdiff_refuses_the_checkpoint_of_another_balance():
    with pytest.raises(ValueError, match="was not trained with ngdiff"):
        NGDiff().load_state_dict({})


def test_the_checkpoint_of_another_balance_is_refused_by_name_and_nothing_is_loaded():
    balance = NGDiff(lam=0.3)
    refuse_state("here", BALANCE_FILE, {"log_odds": 1.0, "segment_names": ["a", "b"]}, balance)
    refuse_state("here", BALANCE_FILE, None, balance)
    with pytest.raises(ValueError, match="here cannot be gone on from by its balance_state.json: "):
        refuse_state("here", BALANCE_FILE, {"segment_names": ["a", "b"]}, balance)
    assert float(balance.weights(torch.tensor([1, 1]))[0]) == pytest.approx(0.3)


def test_checkpoint_keeps_the_lambda_of_ngdiff(vlm_and_data, tmp_path):
    trainer = make(vlm_and_data, tmp_path, balance="ngdiff", ngdiff_decay=0.5)
    trainer.train()
    restored = NGDiff(decay=0.5)
    restored.load_state_dict(load_state(tmp_path / "checkpoint-4", BALANCE_FILE))
    counts = torch.tensor([1, 1])
    assert torch.equal(restored.weights(counts), trainer.balance.weights(counts))
    assert float(restored.weights(counts)[0]) != pytest.approx(0.5)


def test_best_model_is_loaded_at_the_end(vlm_and_data, tmp_path):
    trainer = make(
        vlm_and_data,
        tmp_path,
        eval_strategy="steps",
        eval_steps=2,
        load_best_model_at_end=True,
        greater_is_better=True,  # so that the first checkpoint is the best
    )
    trainer.train()
    assert trainer.state.best_model_checkpoint.endswith("checkpoint-2")
    best = copy.deepcopy(vlm_and_data[0])
    load_weights(best, trainer.state.best_model_checkpoint)
    assert vlm.largest_difference(trainer.model, best) == 0.0


def test_a_directory_without_weights_is_refused(vlm_and_data, tmp_path):
    with pytest.raises(ValueError, match="holds no checkpoint: it has none of model.safetensors"):
        load_weights(vlm_and_data[0], tmp_path)


def test_checkpoint_of_another_trainer_has_no_balance(tmp_path):
    assert load_state(tmp_path, BALANCE_FILE) is None
