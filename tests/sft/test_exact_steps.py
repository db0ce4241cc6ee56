"""Facts about steps with exact norms: what else a step of training does, they do alike."""

from __future__ import annotations

import copy

import pytest
import torch
import vlm_fixtures as vlm

from percbal.sft import segment_gradients
from percbal.sft.trainer import BalancedSFTTrainer

EXAMPLES = [vlm.example_at(i) for i in range(16)]
SPLIT = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
LOGGED = ("loss", "lambda", "loss_p", "n_p", "n_r", "grad_norm_p", "grad_norm_logits_r")


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    return vlm.model_and_data("llava", tmp_path_factory.mktemp("model"), EXAMPLES)


def make(llava, out, model=None, optimizer=None, **options) -> BalancedSFTTrainer:
    initial, processor, data = llava
    return BalancedSFTTrainer(
        copy.deepcopy(initial) if model is None else model,
        vlm.config(out, **(SPLIT | {"balance": "ngdiff"} | options)),
        train_dataset=data,
        processing_class=processor,
        optimizers=(optimizer, None),
    )


@pytest.mark.parametrize("balance", ["fixed", "ngdiff", "ngdiff_unbiased"])
def test_weight_decay_leaves_a_parameter_alone_that_no_loss_reaches(llava, balance, tmp_path):
    model = copy.deepcopy(llava[0])
    model.register_parameter("unused", torch.nn.Parameter(torch.ones(3)))
    decay = {"optim": "adamw_torch", "weight_decay": 0.1, "learning_rate": 1e-2}
    make(llava, tmp_path, model, balance=balance, **decay).train()
    assert torch.equal(model.unused, torch.ones(3))
    assert not torch.equal(model.lm_head.weight, llava[0].lm_head.weight)


class WithMode(torch.optim.SGD):
    """As schedule-free optimizers are."""

    mode = "eval"  # as an evaluation leaves it

    def train(self):
        self.mode = "train"

    def step(self, closure=None):
        assert self.mode == "train"
        return super().step(closure)


def test_an_optimizer_that_has_a_mode_is_set_to_train(llava, tmp_path):
    model = copy.deepcopy(llava[0])
    trainer = make(llava, tmp_path, model, WithMode(model.parameters(), lr=0.1))
    trainer.train()
    assert trainer.state.global_step == 2


def test_the_cache_is_emptied_in_the_steps_that_ask_for_it(llava, tmp_path, monkeypatch):
    emptied = []
    trainer = make(llava, tmp_path, torch_empty_cache_steps=2, max_steps=3)
    monkeypatch.setattr(
        "percbal.sft.stock_step.clear_device_cache",
        lambda: emptied.append(trainer.state.global_step),
    )
    trainer.train()
    assert emptied == [0, 0, 2, 2]  # of two micro-batches each


def cut_off(monkeypatch, owner, name, call, error):
    """That call of a function raises, once."""
    original, calls = getattr(owner, name), []

    def function(*args, **kwargs):
        calls.append(name)
        if len(calls) == call:
            raise error
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, function)


WITHIN_A_STEP = {  # of the first: before the last of its backward passes, and behind all
    "backward": (torch.Tensor, "backward", 4),
    "weigh": (segment_gradients, "_weigh", 1),
}


@pytest.mark.parametrize("place", WITHIN_A_STEP)
@pytest.mark.parametrize("balance", ["ngdiff", "ngdiff_unbiased"])
def test_an_interrupted_step_does_not_leak_into_the_next_run(
    llava, balance, place, tmp_path, monkeypatch
):
    options = {"balance": balance, "ngdiff_decay": 0.9}  # a lambda of all steps
    whole = make(llava, tmp_path, **options)
    whole.train()
    again = make(llava, tmp_path, **options)
    cut_off(monkeypatch, *WITHIN_A_STEP[place], KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        again.train()
    remembered, norm = [], again._get_grad_norm

    def looking(*args, **kwargs):
        remembered.append(len(again._micro_batches))
        return norm(*args, **kwargs)

    monkeypatch.setattr(again, "_get_grad_norm", looking)
    again.train()
    assert vlm.largest_difference(again.model, whole.model) == 0.0
    for name in LOGGED:
        assert vlm.history(again, name) == vlm.history(whole, name), name
    assert remembered == [2, 2]


def test_a_smaller_batch_is_found_and_trained_on_as_if_it_had_been_asked_for(
    llava, tmp_path, monkeypatch
):
    found = make(llava, tmp_path, auto_find_batch_size=True)
    with monkeypatch.context() as patch:
        cut_off(patch, torch.Tensor, "backward", 4, RuntimeError("CUDA out of memory."))
        found.train()
    asked = make(llava, tmp_path, per_device_train_batch_size=3)  # 0.9 of 4
    asked.train()
    assert vlm.largest_difference(found.model, asked.model) == 0.0
    for name in LOGGED:
        assert vlm.history(found, name) == vlm.history(asked, name), name
