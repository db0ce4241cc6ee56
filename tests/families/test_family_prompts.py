"""What a model is asked in use is what fine-tuning trained it to continue, id by id."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from trl.data_utils import prepare_multimodal_messages
from zoo import EACH, QUERY, task_rows

from percbal.evaluate.generation import complete
from percbal.evaluate.questions import picture_prompt
from percbal.models.loading import load_processor
from percbal.responses.prompt import prompt_ids
from percbal.sft.collate import SegmentCollator


@pytest.fixture
def processor(checkpoint):
    return load_processor(checkpoint)


def trained(processor, row):
    """(ids, where the completion begins) as fine-tuning has them."""
    batch = SegmentCollator(processor)([row])
    return batch["input_ids"][0].tolist(), int((batch["labels"][0] != -100).nonzero()[0])


@EACH
def test_rollouts_are_asked_what_was_trained(family, processor):
    """Prompts of several lengths in one call."""
    rows = [*task_rows(1, size=(48, 32)), *task_rows(1)]
    rows[1]["prompt"] = [{"role": "user", "content": f"{QUERY} Look twice, then answer."}]
    prompts = [prepare_multimodal_messages(r["prompt"], images=r["images"]) for r in rows]
    expected = [trained(processor, row) for row in rows]
    assert prompt_ids(processor, prompts).ids == [ids[:start] for ids, start in expected]


@EACH
def test_a_diagnosis_asks_what_was_trained(family, processor):
    asked = []

    def generate(input_ids, attention_mask, **_):
        rows = zip(input_ids, attention_mask.bool(), strict=True)
        asked.extend(ids[mask].tolist() for ids, mask in rows)
        return torch.cat(
            (input_ids, torch.full((len(input_ids), 1), processor.tokenizer.eos_token_id)), 1
        )

    model = SimpleNamespace(
        device="cpu", _can_compile_fullgraph=False, generate=generate, generation_config=None
    )
    rows = task_rows(2)
    questions = [
        SimpleNamespace(
            prompt=partial(picture_prompt, row["images"][0], QUERY),
            response=row["completion"][0]["content"],
            target=row["completion"][0]["content"],
        )
        for row in rows
    ]
    prefixes = [f"<perception> {row['perception']} </perception>" for row in rows]
    told = complete(model, processor, questions * 2, ["", "", *prefixes])
    for i, row in enumerate(rows):
        ids, start = trained(processor, row)
        assert asked[i] == ids[:start]
        given = asked[2 + i]
        assert given == ids[: len(given)] and len(given) > start
        assert told[2 + i].text.endswith(prefixes[i])
