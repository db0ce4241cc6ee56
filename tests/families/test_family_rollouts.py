"""GRPO's log-probabilities of a batch are those of each rollout alone, for every family."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from transformers import AutoConfig
from zoo import EACH, FAMILIES
from zoo_grpo import rows, trainer

from percbal.grpo.config import BalancedGRPOConfig
from percbal.grpo.never_sampled import never_sample_images
from percbal.grpo.position_guard import difference_alone
from percbal.models.loading import load_processor


@EACH
def test_every_rollout_of_a_batch_counts_as_it_does_alone(family, tmp_path):
    made = trainer(family, tmp_path)
    made.model.train()
    batch = made._generate_and_score_completions([row for row in rows() for _ in range(2)])
    assert len({int(n) for n in batch["prompt_mask"].sum(1)}) > 2
    made.model.eval()
    for row in range(0, 12, 2):
        ids = batch["completion_ids"][row][batch["completion_mask"][row].bool()].tolist()
        alone = made._encoded([made._prompts[row]])
        kept = batch["prompt_mask"][row].bool()
        assert alone.ids == [batch["prompt_ids"][row][kept].tolist()]
        found, rounding = difference_alone(made, batch, row, alone, ids)
        assert found < 2e-5, (row, found, rounding)


@pytest.mark.parametrize("bf16", [False, True])
def test_wrong_positions_stop_the_run(bf16, tmp_path, monkeypatch):
    """As stock TRL encodes a prompt again: padded on the tokenizer's side, which is the right."""
    monkeypatch.setattr("percbal.grpo.trainer.as_sampled", lambda trainer: nullcontext())
    made = trainer("qwen3_vl", tmp_path, bf16=bf16)
    with pytest.raises(RuntimeError, match="differ by .* per token between a batch and the"):
        made.train()


@EACH
def test_the_token_that_an_image_replaces_is_never_sampled(family, tmp_path):
    """Gemma3's processor names another one than its model."""
    made = trainer(family, tmp_path)
    banned = made.args.generation_kwargs["suppress_tokens"]
    assert made.model.config.image_token_id in banned


@EACH
def test_nor_is_it_where_the_model_is_a_name(family, tmp_path):
    """A name has no configuration, and the processor alone says what the model replaces."""
    folder = FAMILIES[family].build(tmp_path / "model")
    args = BalancedGRPOConfig(str(tmp_path / "out"), use_cpu=True, bf16=False)
    never_sample_images(args, load_processor(folder), str(folder))
    replaced = AutoConfig.from_pretrained(folder).image_token_id
    assert replaced in args.generation_kwargs["suppress_tokens"]


@pytest.mark.parametrize("bf16", [pytest.param(False, marks=pytest.mark.families), True])
@EACH
def test_a_step_is_made(family, bf16, tmp_path):
    """In bf16, too, whose rounding is no wrong position."""
    made = trainer(family, tmp_path, learning_rate=1e-3, bf16=bf16)
    before = {k: v.clone() for k, v in made.model.named_parameters()}
    made.train()
    assert any(not torch.equal(v, before[k]) for k, v in made.model.named_parameters())
