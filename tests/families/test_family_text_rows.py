"""Rows without a picture train, alone and beside rows that have one."""

from __future__ import annotations

import pytest
import torch
import zoo
from datasets import Dataset

from percbal import BalancedGRPOConfig, BalancedGRPOTrainer
from percbal.sft.collate import SegmentCollator


def rows():
    """Four, the second and the last without a picture."""
    made = zoo.mixed_rows()
    made[1]["images"] = made[3]["images"] = []
    return made


@zoo.EACH
def test_each_row_of_a_mixed_batch_is_trained_as_alone(family, vlm_of):
    model, processor = vlm_of
    collator = SegmentCollator(processor)

    def summed(examples):
        batch = collator(examples)
        labels = batch.pop("labels")
        batch.pop("segment_ids")
        logits = model(**batch).logits[:, :-1]
        return torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), labels[:, 1:].flatten(), reduction="sum"
        )

    with torch.no_grad():
        together, alone = summed(rows()), sum(summed([row]) for row in rows())
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=0)


def length(completions, **_):
    return [float(len(completion[0]["content"])) for completion in completions]


@pytest.mark.families
@zoo.EACH
def test_grpo_takes_rows_with_and_without_a_picture(family, vlm_of, tmp_path):
    model, processor = vlm_of
    args = BalancedGRPOConfig(
        str(tmp_path),
        outcome_reward="length",
        perception_reward=None,
        alpha=0.0,
        num_generations=2,
        per_device_train_batch_size=8,
        max_completion_length=4,
        max_steps=1,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        log_completions=False,
        disable_tqdm=True,
    )
    data = Dataset.from_list([{k: r[k] for k in ("prompt", "images")} for r in rows()])
    trainer = BalancedGRPOTrainer(
        model, length, args, train_dataset=data, processing_class=processor
    )
    trainer.train()
    assert trainer.state.global_step == 1
