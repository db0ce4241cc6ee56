"""What both trainers refuse before anything is loaded, and what they tell to pass instead."""

from __future__ import annotations

import peft
import pytest
import rl_fixtures as rl
import torch
import vlm_fixtures as vlm
from safetensors.torch import load_file
from transformers import TrainingArguments
from trl import GRPOConfig, SFTConfig

from percbal.grpo.config import BalancedGRPOConfig
from percbal.grpo.trainer import BalancedGRPOTrainer
from percbal.models.loading import load_vlm
from percbal.sft.config import BalancedSFTConfig
from percbal.sft.trainer import BalancedSFTTrainer

ON_CPU = {"use_cpu": True, "bf16": False}
OWN = {BalancedSFTTrainer: BalancedSFTConfig, BalancedGRPOTrainer: BalancedGRPOConfig}


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    return load_vlm(vlm.tiny_llava(tmp_path_factory.mktemp("llava")))


def make(kind, model, args, processor, **kwargs):
    data = vlm.dataset([vlm.example_at(0)])
    if kind is BalancedGRPOTrainer:
        kwargs["reward_funcs"] = [rl.outcome, rl.perception]
    return kind(model, args=args, train_dataset=data, processing_class=processor, **kwargs)


@pytest.mark.parametrize("kind", OWN)
@pytest.mark.parametrize("other", [TrainingArguments, SFTConfig, GRPOConfig, *OWN.values(), None])
def test_another_config_is_refused_by_name(llava, kind, other, tmp_path):
    if other is OWN[kind]:
        return
    args = None if other is None else other(str(tmp_path), **ON_CPU)
    got = "NoneType" if other is None else other.__name__
    with pytest.raises(TypeError, match=f"args must be a {OWN[kind].__name__}.*got {got}$"):
        make(kind, llava[0], args, llava[1])


@pytest.mark.parametrize("kind", OWN)
def test_a_tokenizer_is_no_processor(llava, kind, tmp_path):
    args = OWN[kind](str(tmp_path), **ON_CPU)
    for wrong in (llava[1].tokenizer, llava[1].image_processor, None):
        with pytest.raises(TypeError, match="processor of a vision-language model.*load_vlm"):
            make(kind, llava[0], args, wrong)


@pytest.mark.parametrize("kind", OWN)
def test_means_over_each_devices_own_tokens_are_refused(llava, kind, tmp_path, monkeypatch):
    args = OWN[kind](str(tmp_path), average_tokens_across_devices=False, **ON_CPU)
    make(kind, llava[0], args, llava[1])  # alone it is the same
    monkeypatch.setattr(OWN[kind], "world_size", 2)
    with pytest.raises(ValueError, match="average_tokens_across_devices=False would change noth"):
        make(kind, llava[0], args, llava[1])


PROMPT_LEARNING = {
    "PromptTuningConfig": {"num_virtual_tokens": 2},
    "PromptEncoderConfig": {"num_virtual_tokens": 2, "encoder_hidden_size": 8},
    "PrefixTuningConfig": {"num_virtual_tokens": 2},
}


@pytest.mark.parametrize("kind", OWN)
@pytest.mark.parametrize("name", PROMPT_LEARNING)
def test_adapters_with_virtual_tokens_are_refused(llava, kind, name, tmp_path):
    config = getattr(peft, name)(task_type="CAUSAL_LM", **PROMPT_LEARNING[name])
    args = OWN[kind](str(tmp_path), **ON_CPU)
    with pytest.raises(ValueError, match=f"{name} is not supported: its virtual tokens.*use LoRA"):
        make(kind, llava[0], args, llava[1], peft_config=config)


@pytest.mark.parametrize("kind", OWN)
def test_a_model_that_has_virtual_tokens_already_is_refused(kind, tmp_path):
    model, processor = load_vlm(vlm.tiny_llava(tmp_path / "llava"))
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    prompted = peft.PeftModel(model, config)
    with pytest.raises(ValueError, match="PromptTuningConfig is not supported"):
        make(kind, prompted, OWN[kind](str(tmp_path), **ON_CPU), processor)


def test_one_reward_function_is_a_list_of_one(llava, tmp_path):
    args = BalancedGRPOConfig(str(tmp_path), perception_reward=None, alpha=0.0, **rl.OPTIONS)
    trainer = BalancedGRPOTrainer(
        llava[0], rl.outcome, args, train_dataset=rl.prompts(), processing_class=llava[1]
    )
    assert trainer.reward_func_names == ["outcome"] and len(trainer.reward_funcs) == 1


@pytest.mark.parametrize("kind", OWN)
def test_a_model_by_name_is_loaded_from_safetensors_alone(kind, tmp_path):
    folder = vlm.tiny_llava(tmp_path / "llava")
    processor = load_vlm(folder)[1]
    args = OWN[kind](str(tmp_path / "out"), **ON_CPU)
    assert make(kind, str(folder), args, processor).model.num_parameters() > 0
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(OSError, match="model.safetensors"):
        make(kind, str(folder), args, processor)
