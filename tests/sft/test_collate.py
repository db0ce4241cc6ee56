"""Facts about batches with segment ids."""

from __future__ import annotations

import pytest
import torch
import vlm_fixtures as vlm
from PIL import Image
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

from percbal.models.loading import load_processor
from percbal.segments.tagged import OTHER, PERCEPTION, REASONING, SegmentError
from percbal.sft.collate import SegmentCollator
from percbal.sft.encoded import EncodedDataset, PaddingCollator, encode_examples


@pytest.fixture(scope="module", params=["llava", "qwen"])
def processor(request, tmp_path_factory):
    if request.param == "llava":
        return load_processor(vlm.tiny_llava(tmp_path_factory.mktemp("model")))
    return vlm.tiny_qwen()[1]


@pytest.fixture
def examples():
    return [vlm.example_at(i) for i in range(6)]


def test_batch_is_the_stock_batch_with_segment_ids(processor, examples):
    ours = SegmentCollator(processor)(examples)
    stock = DataCollatorForVisionLanguageModeling(processor, completion_only_loss=True)(
        [dict(example) for example in examples]
    )
    segment_ids = ours.pop("segment_ids")
    assert ours.keys() == stock.keys()
    for key in stock:
        assert torch.equal(ours[key], stock[key]), key
    assert torch.equal(segment_ids != OTHER, stock["labels"] != -100)


def test_segments_spell_out_the_tagged_parts(processor, examples):
    batch = SegmentCollator(processor)(examples)
    for row, example in enumerate(examples):
        response = example["completion"][0]["content"]
        cut = response.index("</perception>") + len("</perception>")
        for segment, text in ((PERCEPTION, response[:cut]), (REASONING, response[cut:])):
            ids = batch["input_ids"][row, batch["segment_ids"][row] == segment]
            decoded = processor.tokenizer.decode(ids, skip_special_tokens=True)
            assert decoded.split() == text.split()


def test_listed_segments_and_tags_agree(processor, examples):
    tagged = SegmentCollator(processor)(examples)
    listed = []
    for example in examples:
        response = example["completion"][0]["content"]
        cut = response.index("</perception>") + len("</perception>")
        parts = [("perception", response[:cut]), ("reasoning", response[cut:])]
        listed.append(example | {"segments": [{"type": t, "text": x} for t, x in parts]})
    assert torch.equal(SegmentCollator(processor)(listed)["segment_ids"], tagged["segment_ids"])


def test_tags_left_out_are_not_trained_on(processor, examples):
    batch = SegmentCollator(processor, tag_tokens="other")(examples)
    trained = batch["input_ids"][batch["labels"] != -100]
    assert "perception" not in processor.tokenizer.decode(trained)
    assert torch.equal(batch["segment_ids"] != OTHER, batch["labels"] != -100)


def test_examples_are_not_changed(processor, examples):
    before = [dict(example) for example in examples]
    SegmentCollator(processor)(examples)
    assert examples == before


def test_truncation_keeps_tokens_and_segments_together(processor, examples):
    whole = SegmentCollator(processor)(examples)
    cut = SegmentCollator(processor, max_length=whole["input_ids"].shape[1] - 7)(examples)
    for key in ("input_ids", "labels", "segment_ids"):
        assert torch.equal(cut[key], whole[key][:, :-7]), key


def test_encoded_examples_give_the_same_batches(processor, examples):
    collator = SegmentCollator(processor)
    encoded = encode_examples(examples, collator, batch_size=4)
    light = PaddingCollator(encoded.pad_token_id)
    for rows in ([0, 1, 2, 3, 4, 5], [5, 2], [3]):
        expected = collator([examples[i] for i in rows])
        batch = light([encoded[i] for i in rows])
        assert batch.keys() == expected.keys()
        for key in expected:
            assert torch.equal(batch[key], expected[key]), key


def test_grey_images_take_a_third_of_the_memory_and_come_back_equal(tmp_path):
    processor = load_processor(vlm.tiny_llava(tmp_path))
    grey = [e | {"image": e["image"].convert("L").convert("RGB")} for e in [vlm.example_at(0)]]
    encoded = encode_examples(grey, SegmentCollator(processor))
    assert encoded.columns["pixel_values"].shape == (1, 1, 32, 32)
    expected = SegmentCollator(processor)(grey)["pixel_values"]
    assert torch.equal(encoded[0]["pixel_values"], expected)


def test_saved_examples_load_equal(processor, examples, tmp_path):
    encoded = encode_examples(examples, SegmentCollator(processor))
    encoded.save(tmp_path / "examples.pt")
    loaded = EncodedDataset.load(tmp_path / "examples.pt")
    assert len(loaded) == len(examples)
    for i in range(len(loaded)):
        for key, value in encoded[i].items():
            assert torch.equal(loaded[i][key], value), key


def test_progress_counts_every_example(processor, examples):
    seen = []
    encode_examples(examples, SegmentCollator(processor), batch_size=4, progress=seen.append)
    assert seen == [4, 2]


def test_an_untagged_response_is_named(processor, examples):
    examples[2]["completion"] = [{"role": "assistant", "content": "w1 w2"}]
    with pytest.raises(SegmentError, match="example 2 of the batch has no perception that counts"):
        SegmentCollator(processor)(examples)
    examples[2]["id"] = "sudoku-77"
    with pytest.raises(SegmentError, match="example sudoku-77 has no perception that counts"):
        SegmentCollator(processor)(examples)


def test_only_prompt_and_completion_have_segments(processor):
    with pytest.raises(SegmentError, match="needs the columns prompt and completion"):
        SegmentCollator(processor)([{"messages": [], "image": None}])


def test_nothing_to_encode_is_an_error(processor):
    with pytest.raises(ValueError, match="there are no examples to encode"):
        encode_examples([], SegmentCollator(processor))


def test_unevenly_spread_images_stay_with_their_examples(tmp_path):
    """As many images as examples, but two in one and none in the other."""
    processor = load_processor(vlm.tiny_llava(tmp_path / "model"))
    bright, dark = (Image.new("RGB", (32, 32), (level,) * 3) for level in (250, 5))
    shown = [[bright, dark], []]
    rows = [{**vlm.example_at(i), "images": images} for i, images in enumerate(shown)]
    for row in rows:
        row.pop("image", None)
    encoded = encode_examples(rows, SegmentCollator(processor))
    alone = SegmentCollator(processor)([rows[0]])["pixel_values"]
    assert torch.equal(encoded[0]["pixel_values"], alone[:, :1].expand_as(alone))
    assert len(encoded[1]["pixel_values"]) == 0
