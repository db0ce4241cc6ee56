"""The perception's tokens are those of its text, whatever the tokenizer makes of it."""

from __future__ import annotations

import pytest
import torch
import zoo

from percbal.segments.names import Segments
from percbal.segments.tagged import OTHER, PERCEPTION, REASONING
from percbal.sft.collate import SegmentCollator

TEXTS = {
    "plain": ("red green", "There is one red square."),
    "lines": ("\nrow 1: red green\nrow 2: blue white\n", "\n1. red\n2. green\n\nSo it is one.\n"),
    "emoji": ("🟥🟩 and 👩‍👩‍👧", "🟥 is one 👍🏽"),
    "cjk": ("红色，绿色。赤い四角", "左上是红色，所以是一。"),
}


@zoo.EACH
@pytest.mark.parametrize("kind", TEXTS)
def test_perception_tokens_spell_the_perception_with_its_tags(family, kind, vlm_of):
    tokenizer = vlm_of[1].tokenizer
    perception, reasoning = TEXTS[kind]
    pictures = [zoo.picture(0)[0], zoo.picture(1, (80, 48))[0]]
    batch = SegmentCollator(vlm_of[1])(
        [zoo.row(image, perception, reasoning, "1") for image in pictures]
    )
    for ids, segments in zip(batch["input_ids"], batch["segment_ids"], strict=True):
        seen = tokenizer.decode(ids[segments == PERCEPTION])
        assert seen.strip() == f"<perception> {perception} </perception>"
        rest = tokenizer.decode(ids[segments == REASONING], skip_special_tokens=True)
        expected = f"<reasoning> {reasoning} </reasoning> <answer> 1 </answer>"
        assert rest.strip().endswith(expected)
        before = tokenizer.decode(ids[: int((segments != OTHER).nonzero()[0])])
        assert zoo.QUERY in before and "<perception>" not in before


@zoo.EACH
@pytest.mark.parametrize("names", [None, "prompt,perception,reasoning"], ids=["two", "prompts"])
def test_no_image_token_is_trained_on(family, names, vlm_of):
    model, processor = vlm_of
    named = Segments.parse(names)
    batch = SegmentCollator(processor, segments=named)(zoo.mixed_rows())
    trained = batch["input_ids"][batch["labels"] != -100]
    images = torch.as_tensor([model.config.image_token_id, *processor.image_token_ids])
    assert not torch.isin(trained, images).any()
    assert (batch["input_ids"] == model.config.image_token_id).any(1).all()
    rows = zip(batch["input_ids"], batch["segment_ids"], strict=True)
    for ids, segments in rows if named.prompt is not None else []:
        asked = processor.tokenizer.decode(ids[segments == named.prompt])
        assert zoo.QUERY in asked and "<|" not in asked
