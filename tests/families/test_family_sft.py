"""Fine-tuning on each family: the loss is the model's own, and only what should move moves."""

from __future__ import annotations

import copy
import shutil
from typing import Any

import pytest
import torch
import vlm_fixtures as vlm
import zoo
from datasets import Dataset

from percbal.models.loading import load_vlm
from percbal.models.lora import LoRAArguments
from percbal.sft.collate import SegmentCollator
from percbal.sft.trainer import BalancedSFTTrainer

RATE = 0.1  # of the plain SGD that tests step with
TOWER = ("vision_tower", "vision_model", "visual")  # in the names of a vision tower's parameters


def trainer(vlm_of, out, rows=None, more: dict[str, Any] | None = None, **options: Any):
    """Of a copy of the model, on rows as a user's dataset has them."""
    model, processor = vlm_of
    options = {"balance": "token_mean", "max_steps": 1, "learning_rate": RATE} | options
    options = {"per_device_train_batch_size": 4} | options
    return BalancedSFTTrainer(
        copy.deepcopy(model),
        vlm.config(out, **options),
        train_dataset=Dataset.from_list(zoo.mixed_rows() if rows is None else rows),
        processing_class=processor,
        **(more or {}),
    )


def own_loss(vlm_of, rows) -> torch.Tensor:
    """The model's own loss of a batch with labels; its gradients are in the model then."""
    model, processor = vlm_of
    batch = SegmentCollator(processor)(rows)
    batch.pop("segment_ids")
    model.zero_grad()
    model.train()
    loss = model(**batch).loss
    loss.backward()
    return loss.detach()


def in_tower(name: str) -> bool:
    return any(part in name.split(".") for part in TOWER)


@zoo.EACH
@pytest.mark.parametrize("chunked_logits", [False, True], ids=["logits", "chunked"])
def test_a_step_of_token_mean_is_a_step_on_the_models_own_loss(
    family, chunked_logits, vlm_of, tmp_path
):
    fitted = trainer(vlm_of, tmp_path, chunked_logits=chunked_logits)
    fitted.train()
    expected = own_loss(vlm_of, zoo.mixed_rows())
    assert vlm.history(fitted, "loss") == [pytest.approx(expected.item(), rel=1e-5)]
    moved = dict(fitted.model.named_parameters())
    for name, weight in vlm_of[0].named_parameters():
        step = 0 if weight.grad is None else RATE * weight.grad
        assert (weight - step - moved[name]).abs().max() < 1e-6, name


@zoo.EACH
def test_a_batch_has_the_losses_of_its_rows(family, vlm_of):
    """Pictures of two sizes and padding: a row does not see those beside it."""
    rows = zoo.mixed_rows()
    labels = SegmentCollator(vlm_of[1])(rows)["labels"][:, 1:]
    counts = (labels != -100).sum(1)
    alone = torch.stack([own_loss(vlm_of, [row]) for row in rows])
    together = own_loss(vlm_of, rows)
    assert (alone * counts).sum() / counts.sum() == pytest.approx(together.item(), rel=1e-5)


@zoo.EACH
def test_lora_moves_adapters_alone_and_they_load(family, vlm_of, tmp_path):
    config = LoRAArguments(lora_r=4).config()
    fitted = trainer(vlm_of, tmp_path / "out", more={"peft_config": config}, max_steps=2)
    fitted.train()
    first, second = vlm.history(fitted, "loss")
    assert first == pytest.approx(own_loss(vlm_of, zoo.mixed_rows()).item(), rel=1e-5)
    assert second < first
    before = dict(vlm_of[0].named_parameters())
    for name, weight in fitted.model.get_base_model().named_parameters():
        if "lora_" not in name:
            assert torch.equal(weight, before[name.replace(".base_layer", "")]), name
    fitted.save_model(tmp_path / "adapters")
    merged = load_vlm(tmp_path / "adapters")
    trained = own_loss((fitted.model, vlm_of[1]), zoo.mixed_rows())
    assert own_loss(merged, zoo.mixed_rows()) == pytest.approx(trained.item(), rel=1e-5)


@zoo.EACH
def test_a_frozen_tower_stays_and_the_rest_trains(family, vlm_of, tmp_path):
    for name, weight in vlm_of[0].named_parameters():
        weight.requires_grad_(not in_tower(name))
    assert any(not weight.requires_grad for weight in vlm_of[0].parameters())
    fitted = trainer(vlm_of, tmp_path)
    fitted.train()
    moved = dict(fitted.model.named_parameters())
    own_loss(vlm_of, zoo.mixed_rows())
    for name, weight in vlm_of[0].named_parameters():
        step = RATE * weight.grad if weight.requires_grad else 0
        assert (weight - step - moved[name]).abs().max() < 1e-6, name
        assert not in_tower(name) or torch.equal(weight, moved[name])


@zoo.EACH
def test_the_tower_can_have_a_learning_rate_of_its_own(family, vlm_of, tmp_path):
    slow = RATE / 100
    model, processor = copy.deepcopy(vlm_of[0]), vlm_of[1]
    named = [pair for pair in model.named_parameters() if pair[1].requires_grad]
    groups = [
        {"params": [weight for name, weight in named if not in_tower(name)], "lr": RATE},
        {"params": [weight for name, weight in named if in_tower(name)], "lr": slow},
    ]
    fitted = BalancedSFTTrainer(
        model,
        vlm.config(tmp_path, balance="token_mean", max_steps=1, per_device_train_batch_size=4),
        train_dataset=Dataset.from_list(zoo.mixed_rows()),
        processing_class=processor,
        optimizers=(torch.optim.SGD(groups), None),
    )
    fitted.train()
    own_loss(vlm_of, zoo.mixed_rows())
    moved = dict(model.named_parameters())
    for name, weight in vlm_of[0].named_parameters():
        if weight.grad is not None:
            step = (slow if in_tower(name) else RATE) * weight.grad
            assert (weight - step - moved[name]).abs().max() < 1e-6, name
    assert fitted.optimizer.optimizer.param_groups[1]["lr"] == slow


@zoo.EACH
def test_a_resumed_run_is_the_run_that_was_never_stopped(family, vlm_of, tmp_path):
    options = {
        "optim": "adamw_torch",
        "learning_rate": 1e-2,
        "max_steps": 4,
        "save_steps": 2,
        "save_strategy": "steps",
        "per_device_train_batch_size": 2,
        "balance": "ngdiff",
    }
    whole = trainer(vlm_of, tmp_path / "whole", **options)
    whole.train()
    shutil.copytree(tmp_path / "whole" / "checkpoint-2", tmp_path / "rest" / "checkpoint-2")
    rest = trainer(vlm_of, tmp_path / "rest", **options)
    rest.train(resume_from_checkpoint=True)
    assert vlm.history(whole, "loss") == vlm.history(rest, "loss")
    assert vlm.largest_difference(whole.model, vlm_of[0]) > 1e-3
    assert vlm.largest_difference(whole.model, rest.model) == 0.0
    saved, _ = load_vlm(tmp_path / "rest" / "checkpoint-4")
    assert vlm.largest_difference(whole.model, saved) == 0.0
