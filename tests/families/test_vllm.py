"""What vLLM is asked about images is what training sees, for every family; vLLM is a stub."""

from __future__ import annotations

import json
import os

import peft
import pytest
import torch
import vllm_stub
from zoo import EACH, FAMILIES
from zoo_grpo import rows, trainer

from percbal.grpo.vllm_prompts import AROUND
from percbal.models.loading import load_processor, load_vlm
from percbal.responses.prompt import PromptIds
from percbal.rewards import blind_reanswer

IN_PARTS = {"smolvlm", "idefics3", "mistral3"}  # tiles or rows, with other tokens between them


@pytest.fixture
def vllm(monkeypatch):
    vllm_stub.install(monkeypatch)


def sampled(made):
    """The prompts of one batch, as training sees them and as the engine says it was asked."""
    made.model.train()
    batch = made._generate_and_score_completions([row for row in rows() for _ in range(2)])
    kept = batch["prompt_mask"].bool()
    seen = [ids[mask].tolist() for ids, mask in zip(batch["prompt_ids"], kept, strict=True)]
    return seen, vllm_stub.engine_of(made)


@EACH
def test_an_engine_is_asked_what_training_sees(family, tmp_path, vllm):
    made = trainer(family, tmp_path, use_vllm=True, vllm_mode="colocate")
    seen, engine = sampled(made)
    assert engine.told == seen and engine.given != seen
    banned = engine.tokenizer.encode("".join(engine.sampling[0]["bad_words"]))
    assert made.model.config.image_token_id in banned
    assert engine.synced == len(list(made.model.named_parameters()))


@pytest.mark.parametrize("further", [False, True])
def test_an_engine_starts_from_the_model_below_merged_adapters(further, tmp_path, vllm):
    """Their folder has no config.json; the engine has the merged weights before it is asked.

    further: with adapters on top, whose folder names those below.
    """
    below = FAMILIES["llava"].build(tmp_path / "below")
    model, processor = load_vlm(below)
    config = peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    peft.get_peft_model(model, config).save_pretrained(tmp_path / "adapters")
    processor.save_pretrained(tmp_path / "adapters")
    on_top = peft.LoraConfig(r=2, target_modules=["q_proj"]) if further else None
    made = trainer(
        "llava",
        tmp_path,
        folder=tmp_path / "adapters",
        peft_config=on_top,
        use_vllm=True,
        vllm_mode="colocate",
    )
    engine = vllm_stub.engine_of(made)
    assert engine.started_from == str(below)
    assert made.model.name_or_path == str(tmp_path / "adapters")
    sampled(made)
    assert engine.synced
    if further:
        made.save_model(str(tmp_path / "on_top"))
        saved = json.loads((tmp_path / "on_top" / "adapter_config.json").read_text())
        assert saved["base_model_name_or_path"] == str(tmp_path / "adapters")


@pytest.mark.families
@EACH
def test_a_server_is_told_where_the_images_are(family, checkpoint, tmp_path, monkeypatch):
    """Or a family that makes several runs of one image is refused."""
    processor = load_processor(checkpoint)
    vllm_stub.install(monkeypatch, processor)
    made = trainer(family, tmp_path, use_vllm=True, vllm_mode="server")
    if family in IN_PARTS:
        with pytest.raises(ValueError, match=r"one run .*Processor makes \d+ of 1 image"):
            sampled(made)
        return
    seen, engine = sampled(made)
    assert engine.told == seen[::2], "each prompt once for its group"
    assert engine.sampling[0]["bad_words"]


def test_a_server_that_makes_more_of_an_image_is_refused(tmp_path, monkeypatch):
    processor = load_processor(FAMILIES["qwen3_vl"].build(tmp_path / "served"))
    vllm_stub.install(monkeypatch, processor, more_tokens=AROUND + 1)
    made = trainer("qwen3_vl", tmp_path, use_vllm=True, vllm_mode="server")
    with pytest.raises(RuntimeError, match="image 0 of a prompt has 4 tokens .* and 9 on"):
        sampled(made)


@pytest.mark.parametrize("mode", ["colocate", "server"])
def test_a_step_is_made_from_what_vllm_sampled(mode, tmp_path, monkeypatch):
    vllm_stub.install(monkeypatch, load_processor(FAMILIES["llava"].build(tmp_path / "served")))
    made = trainer("llava", tmp_path, [varied], use_vllm=True, vllm_mode=mode, learning_rate=1e-3)
    before = {k: v.clone() for k, v in made.model.named_parameters()}
    made.train()
    assert any(not torch.equal(v, before[k]) for k, v in made.model.named_parameters())
    assert vllm_stub.engine_of(made).synced, "the engine has the weights"


def varied(completions, **_):
    return [float(i % 2) for i, _ in enumerate(completions)]


@pytest.mark.parametrize("blind_from", ["text", "continue"])
def test_blind_questions_go_the_same_way(blind_from, tmp_path, vllm):
    rewards = [blind_reanswer, varied]
    made = trainer(
        "llava",
        tmp_path,
        rewards,
        use_vllm=True,
        vllm_mode="colocate",
        perception_reward="blind_reanswer",
        outcome_reward="varied",
        blind_from=blind_from,
        blind_samples=1,
        max_completion_length=64,
    )
    seen, engine = sampled(made)
    blind = engine.told[len(seen) :]
    assert len(blind) == 6, "one perception of each of six prompts"
    token = made.model.config.image_token_id
    if blind_from == "text":
        assert not any(token in ids for ids in blind)
        return
    for asked, rollout in zip(blind, seen[::2], strict=True):
        assert asked[: len(rollout)] == rollout
        text = engine.tokenizer.decode(asked[len(rollout) :])
        assert text.strip() == "<perception> red </perception>"


def test_text_prompts_beside_images_stay_as_they_are(tmp_path, vllm):
    made = trainer("qwen3_vl", tmp_path, use_vllm=True, vllm_mode="colocate")
    made.model.train()
    mixed = rows()
    for row in mixed[::2]:
        row["images"] = None
    made._generate_and_score_completions([row for row in mixed for _ in range(2)])
    engine = vllm_stub.engine_of(made)
    same = [given == told for given, told in zip(engine.given, engine.told, strict=True)]
    assert same == [True, True, False, False] * 3


def test_another_expansion_is_refused(tmp_path, monkeypatch):
    """A version of vLLM that put one token more into a picture, or took a prompt for another."""
    vllm_stub.install(monkeypatch)
    made = trainer("llava", tmp_path, use_vllm=True, vllm_mode="colocate")
    engine = vllm_stub.engine_of(made)
    right = engine.expand
    token = made.model.config.image_token_id
    monkeypatch.setattr(engine, "expand", lambda *asked: [token, *right(*asked)])
    with pytest.raises(
        RuntimeError, match=r"unlike LlavaProcessor: prompt 0 .* is number 0, '<image>'"
    ):
        sampled(made)
    monkeypatch.setattr(engine, "expand", lambda ids, images: ids)
    sampled(made)  # a version that answers with the ids it was given


def test_only_what_was_encoded_last_is_sampled(tmp_path, vllm):
    made = trainer("llava", tmp_path, use_vllm=True, vllm_mode="colocate")
    prompts = [[{"role": "user", "content": [{"type": "image", "image": "x"}]}]]
    made.vllm_generation.encoded = PromptIds([[1, 2]], prompts, {}, ["a"])
    with pytest.raises(RuntimeError, match="not those that were encoded last"):
        made.vllm_generation.generate([[3, 2]], [["x"]], 1)


def test_trl_leaves_no_rank_behind(tmp_path):
    """It sets variables by which every later process of these tests would call itself a rank."""
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    before = [os.environ.get(name) for name in names]
    with pytest.MonkeyPatch.context() as patched:
        vllm_stub.install(patched)
        trainer("llava", tmp_path, use_vllm=True, vllm_mode="colocate")
    assert [os.environ.get(name) for name in names] == before
