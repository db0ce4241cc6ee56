"""Facts about low-rank adapters: the trainers train them, and nothing else, and load them again."""

from __future__ import annotations

import copy

import pytest
import rl_fixtures as rl
import torch
import vlm_fixtures as vlm

from percbal.models.loading import LoadingError, load_vlm
from percbal.models.lora import LoRAArguments
from percbal.sft.trainer import BalancedSFTTrainer

EXAMPLES = [vlm.example_at(i) for i in range(16)]


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    directory = vlm.tiny_llava(tmp_path_factory.mktemp("llava"))
    model, processor = load_vlm(directory)
    return model, processor, vlm.encoded(processor, EXAMPLES)


def adapters():
    return LoRAArguments(lora_r=4, lora_alpha=8, lora_target=["q_proj", "v_proj"]).config()


def sft(llava, out, resume=None, **options):
    torch.manual_seed(0)
    model, processor, data = llava
    trainer = BalancedSFTTrainer(
        copy.deepcopy(model),
        vlm.config(out, **options),
        train_dataset=data,
        processing_class=processor,
        peft_config=adapters(),
    )
    before = trained(trainer)
    trainer.train(resume_from_checkpoint=resume)
    return trainer, before


def trained(trainer):
    named = trainer.model.named_parameters()
    return {name: value.detach().clone() for name, value in named if value.requires_grad}


def largest(first, second):
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first)


@pytest.mark.parametrize("balance", ["fixed", "ngdiff"])
def test_adapters_alone_are_trained_with_and_without_whole_logits(llava, balance, tmp_path):
    (whole, before), (chunked, _) = (
        sft(llava, tmp_path, balance=balance, chunked_logits=chunked) for chunked in (False, True)
    )
    assert all("lora_" in name for name in before)
    assert largest(trained(whole), before) > 1e-4
    assert largest(trained(whole), trained(chunked)) < 1e-6


def test_resumed_run_equals_the_uninterrupted_one(llava, tmp_path):
    whole, _ = sft(llava, tmp_path, save_strategy="steps", save_steps=1)
    resumed, _ = sft(llava, tmp_path / "again", resume=str(tmp_path / "checkpoint-1"))
    assert largest(trained(whole), trained(resumed)) == 0.0


def test_our_log_probabilities_train_adapters_like_trls(tmp_path):
    policy = rl.tiny_policy(tmp_path / "policy")
    ends = []
    for how in ("trl", "percbal"):
        torch.manual_seed(0)
        model = copy.deepcopy(policy[0])
        trainer = rl.trainer(
            (model, policy[1]), tmp_path, logprobs=how, beta=0.1, peft_config=adapters()
        )
        before = trained(trainer)
        trainer.train()
        ends.append(trained(trainer))
    assert largest(ends[0], before) > 1e-3
    assert largest(*ends) < 1e-4


def test_saved_adapters_are_loaded_into_their_model(llava, tmp_path):
    trainer, _ = sft(llava, tmp_path, learning_rate=1.0)
    trainer.save_model(str(tmp_path / "adapted"))
    llava[1].save_pretrained(tmp_path / "adapted")
    merged, _ = load_vlm(tmp_path / "adapted")
    inputs = vlm.batch(llava[1], EXAMPLES[:2])
    with torch.no_grad():
        theirs = trainer.model.eval()(**inputs).logits
        torch.testing.assert_close(merged.eval()(**inputs).logits, theirs, atol=1e-5, rtol=1e-4)
        assert (llava[0].eval()(**inputs).logits - theirs).abs().max() > 1e-3


def test_adapters_on_adapters_are_loaded_with_both(llava, tmp_path):
    """Fine-tuned with adapters, then reinforced with others."""
    first, _ = sft(llava, tmp_path, learning_rate=1.0)
    first.save_model(str(tmp_path / "first"))
    llava[1].save_pretrained(tmp_path / "first")
    second, _ = sft(
        (*load_vlm(tmp_path / "first"), llava[2]), tmp_path, balance="token_mean", learning_rate=1.0
    )
    second.save_model(str(tmp_path / "second"))
    llava[1].save_pretrained(tmp_path / "second")
    inputs = vlm.batch(llava[1], EXAMPLES[:2])
    with torch.no_grad():
        logits = [
            model.eval()(**inputs).logits
            for model in (load_vlm(tmp_path / "second")[0], second.model, first.model)
        ]
    torch.testing.assert_close(logits[0], logits[1], atol=1e-5, rtol=1e-4)
    assert (logits[1] - logits[2]).abs().max() > 1e-3


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"lora_r": 0}, "lora_r must be at least 1, got 0"),
        ({"lora_alpha": 8}, "lora_alpha, lora_dropout and lora_target need lora_r"),
    ],
)
def test_impossible_options_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        LoRAArguments(**options).config()


@pytest.mark.parametrize(
    "config, sentence",
    [
        ('{"base_model_name_or_path": "nowhere"}', "need their model: nowhere is not a directory"),
        (
            '{"base_model_name_or_path": null}',
            "does not name the model that its adapters belong to",
        ),
        ("{", "does not name the model"),
    ],
)
def test_adapters_without_their_model_are_refused(config, sentence, tmp_path):
    (tmp_path / "adapter_config.json").write_text(config)
    with pytest.raises(LoadingError, match=sentence):
        load_vlm(tmp_path)
