"""The KL term compares with the model that training began from, wherever its weights came from."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import peft
import pytest
import rl_fixtures as rl
import torch

from percbal.grpo.reference import begin_at_policy
from percbal.models.loading import load_vlm


def adapted(policy, folder):
    """Adapters that change the model, saved with its processor."""
    torch.manual_seed(0)
    config = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    peft.get_peft_model(copy.deepcopy(policy[0]), config).save_pretrained(folder)
    policy[1].save_pretrained(folder)
    return load_vlm(folder)


def distance(first, second):
    """The largest difference of a weight."""
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    return max(float((a.detach() - b.detach()).abs().max()) for a, b in pairs)


def test_the_reference_of_merged_adapters_has_them(policy, tmp_path):
    """TRL loads it by the name in the configuration, which is that of the model below them."""
    merged = adapted(policy, tmp_path / "adapters")
    start = copy.deepcopy(merged[0])
    assert distance(start, policy[0]) > 1e-3, "or the two references are one"
    made = rl.trainer(merged, tmp_path, beta=0.04, learning_rate=1e-3)
    assert distance(made.ref_model, start) == 0.0
    made.train()
    assert distance(made.ref_model, start) == 0.0
    assert distance(made.model, start) > 0.0
    first = next(entry["kl"] for entry in made.state.log_history if "kl" in entry)
    assert abs(first) < 1e-6, "at the first step the policy is the reference"


def test_the_reference_of_a_model_changed_in_memory_is_that_model(policy, tmp_path):
    model = copy.deepcopy(policy[0])
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(1.5)
    made = rl.trainer((model, policy[1]), tmp_path, beta=0.04)
    assert distance(made.ref_model, model) == 0.0


def test_a_float32_head_is_in_the_reference_too(policy, tmp_path):
    merged = adapted(policy, tmp_path / "adapters")
    model = merged[0].to(torch.bfloat16)
    made = rl.trainer(
        (model, merged[1]), tmp_path, beta=0.04, logprobs="trl", cast_lm_head_to_fp32=True
    )
    assert distance(made.ref_model, made.model) == 0.0


def trainer_of(model, reference, stage=3, **engines):
    """stage: of ZeRO, under DeepSpeed."""
    state = SimpleNamespace(deepspeed_plugin=SimpleNamespace(zero_stage=stage))
    unwrap = SimpleNamespace(unwrap_model=lambda model, **_: model, state=state)
    engines = {"is_fsdp_enabled": False, "is_deepspeed_enabled": False} | engines
    return SimpleNamespace(model=model, ref_model=reference, accelerator=unwrap, **engines)


@pytest.mark.parametrize("engine", ["is_fsdp_enabled", "is_deepspeed_enabled"])
def test_a_sharded_reference_of_merged_adapters_is_refused(policy, engine, tmp_path):
    model, _ = adapted(policy, tmp_path / "adapters")
    reference = copy.deepcopy(policy[0])
    sharded = trainer_of(model, reference, **{engine: True})
    with pytest.raises(ValueError, match=r"beta > 0 .*adapters.* merged.*save_pretrained"):
        begin_at_policy(sharded)
    assert distance(reference, policy[0]) == 0.0
    begin_at_policy(trainer_of(policy[0], reference, **{engine: True}))  # as it was loaded


@pytest.mark.parametrize("stage", [0, 2])
def test_a_reference_that_deepspeed_keeps_whole_has_merged_adapters(policy, stage, tmp_path):
    model, _ = adapted(policy, tmp_path / "adapters")
    reference = copy.deepcopy(policy[0])
    begin_at_policy(trainer_of(model, reference, stage, is_deepspeed_enabled=True))
    assert distance(reference, model) == 0.0 < distance(reference, policy[0])


def test_a_reference_that_cannot_take_the_weights_is_refused(policy):
    other = copy.deepcopy(policy[0])
    other.resize_token_embeddings(len(policy[1].tokenizer) + 8)
    with pytest.raises(ValueError, match="is no model like the one that is trained.*size mismatch"):
        begin_at_policy(trainer_of(other, copy.deepcopy(policy[0])))
    with pytest.raises(ValueError, match="does not fit into memory"):
        begin_at_policy(trainer_of(policy[0], copy.deepcopy(policy[0]).to("meta")))
