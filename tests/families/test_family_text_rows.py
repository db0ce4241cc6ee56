"""Rows without a picture train, alone and beside rows that have one."""

from __future__ import annotations

import pytest
import torch
import zoo
import zoo_grpo

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


@pytest.mark.families
@zoo.EACH
def test_grpo_takes_rows_with_and_without_a_picture(family, tmp_path):
    shown = [{name: row[name] for name in ("prompt", "images")} for row in rows()]
    sizes = {"per_device_train_batch_size": 8, "steps_per_generation": 1}
    sizes |= {"max_completion_length": 4, "max_steps": 1}
    made = zoo_grpo.trainer(family, tmp_path, shown=shown, **sizes)
    made.train()
    assert made.state.global_step == 1
