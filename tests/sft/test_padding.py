"""`pad_token` and `pad_to_multiple_of` pad as they do in stock TRL, segments and labels alike."""

from __future__ import annotations

import copy

import pytest
import torch
import vlm_fixtures as vlm
from trl import SFTTrainer

from percbal.models.loading import load_vlm
from percbal.sft.collate import SegmentCollator
from percbal.sft.encoded import PaddingCollator
from percbal.sft.padding import TOKEN_KEYS
from percbal.sft.trainer import BalancedSFTTrainer

EXAMPLES = [vlm.example_at(i) for i in range(8)]


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    return load_vlm(vlm.tiny_llava(tmp_path_factory.mktemp("llava")))


@pytest.fixture
def without_pad(llava):
    model, processor = copy.deepcopy(llava)
    processor.tokenizer.pad_token = None
    return model, processor


def trainer(model, processor, out, encoded, kind=BalancedSFTTrainer, **options):
    examples = vlm.encoded(processor, EXAMPLES) if encoded else vlm.dataset(EXAMPLES)
    args = vlm.config(out, balance="token_mean", **options)
    return kind(model, args=args, train_dataset=examples, processing_class=processor)


@pytest.mark.parametrize("encoded", [False, True])
def test_without_a_padding_token_the_end_of_text_pads_as_in_trl(without_pad, encoded, tmp_path):
    model, processor = without_pad
    stock = copy.deepcopy(without_pad)
    theirs = trainer(*stock, tmp_path, False, kind=SFTTrainer)
    made = trainer(model, processor, tmp_path, encoded)
    end = processor.tokenizer.eos_token_id
    assert processor.tokenizer.pad_token_id == stock[1].tokenizer.pad_token_id == end
    assert made.model.config.get_text_config().pad_token_id == end
    assert made.model.generation_config.pad_token_id == end
    batch = made.data_collator([made.train_dataset[i] for i in range(8)])
    assert bool((batch["input_ids"][batch["attention_mask"] == 0] == end).all())
    last = batch["attention_mask"].sum(1) - 1
    rows = torch.arange(8)
    assert bool((batch["labels"][rows, last] == end).all()), "the end itself is trained on"
    theirs.train(), made.train()
    assert vlm.largest_difference(made.model, theirs.model) < 1e-6


@pytest.mark.parametrize("encoded", [False, True])
def test_the_padding_token_that_is_named_pads(llava, encoded, tmp_path):
    model, processor = copy.deepcopy(llava)
    with pytest.warns(FutureWarning, match="`pad_token` is deprecated"):
        made = trainer(model, processor, tmp_path, encoded, pad_token="w0")
    number = processor.tokenizer.convert_tokens_to_ids("w0")
    assert processor.tokenizer.pad_token_id == number
    assert made.model.config.get_text_config().pad_token_id == number
    batch = made.data_collator([made.train_dataset[i] for i in range(8)])
    assert bool((batch["input_ids"][batch["attention_mask"] == 0] == number).all())


@pytest.mark.filterwarnings("ignore:`pad_token` is deprecated")
def test_a_padding_token_that_there_is_not_is_refused(llava, without_pad, tmp_path):
    with pytest.raises(ValueError, match="pad_token='nothing' is not in the vocabulary of"):
        trainer(*copy.deepcopy(llava), tmp_path, False, pad_token="nothing")
    without_pad[1].tokenizer.eos_token = None
    with pytest.raises(ValueError, match="has no padding token and no end of text: set pad_token"):
        SegmentCollator(without_pad[1])


@pytest.mark.parametrize("encoded", [False, True])
def test_a_batch_is_as_long_as_a_multiple(llava, encoded, tmp_path):
    made, plain = (
        trainer(*copy.deepcopy(llava), tmp_path, encoded, pad_to_multiple_of=multiple)
        for multiple in (32, None)
    )
    rows = [made.train_dataset[i] for i in range(8)]
    padded, stock = made.data_collator(rows), plain.data_collator(rows)
    length = stock["input_ids"].shape[1]
    assert length % 32, "or there is nothing to add"
    padding = TOKEN_KEYS | {"input_ids": llava[1].tokenizer.pad_token_id}
    for key, value in stock.items():
        if key not in TOKEN_KEYS:
            assert torch.equal(padded[key], value), key
            continue
        assert padded[key].shape[1] == -(-length // 32) * 32, key
        assert torch.equal(padded[key][:, :length], value), key
        assert bool((padded[key][:, length:] == padding[key]).all()), key
    made.train(), plain.train()
    assert vlm.largest_difference(made.model, plain.model) < 1e-6


def test_a_multiple_is_at_least_one(llava):
    sentence = "pad_to_multiple_of must be at least 1, got 0"
    with pytest.raises(ValueError, match=sentence):
        SegmentCollator(llava[1], pad_to_multiple_of=0)
    with pytest.raises(ValueError, match=sentence):
        PaddingCollator(0, 0)
