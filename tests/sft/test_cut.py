"""What is said where ``max_length`` cuts too much, and where images do not fit the messages."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
import vlm_fixtures as vlm

from percbal.models.loading import load_vlm
from percbal.segments.names import Segments
from percbal.segments.tagged import SegmentError
from percbal.sft.check import tried_rows
from percbal.sft.collate import SegmentCollator
from percbal.sft.encoded import encode_examples

EXAMPLES = [vlm.example_at(i) for i in range(8)]
LONG = "w1 " * 200


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    return load_vlm(vlm.tiny_llava(tmp_path_factory.mktemp("llava")))


@pytest.fixture(scope="module")
def lengths(llava):
    """Tokens of the prompts, which are alike, and of the longest example."""
    batch = SegmentCollator(llava[1])(EXAMPLES)
    return int((batch["labels"][0] == -100).int().argmin()), batch["input_ids"].shape[1]


def fit(llava, out, examples, **options):
    model, processor = llava
    args = vlm.config(out, **({"max_steps": 1} | options))
    return vlm.train(copy.deepcopy(model), processor, vlm.dataset(examples), args)


def with_long_prompts(n):
    """Some rows whose prompt alone is longer than any other row."""
    long = [e | {"prompt": [{"role": "user", "content": LONG}]} for e in EXAMPLES[:n]]
    return long + EXAMPLES[n:]


@pytest.mark.parametrize("balance", ["fixed", "ngdiff"])
@pytest.mark.parametrize("chunked", [False, True])
def test_cut_image_tokens_are_said(llava, lengths, balance, chunked, tmp_path):
    options = {"balance": balance, "chunked_logits": chunked, "max_length": 3}
    # one row keeps a label: the image is what is missing
    args = vlm.config(tmp_path, **options)
    trainer = vlm.BalancedSFTTrainer(
        copy.deepcopy(llava[0]),
        args,
        train_dataset=vlm.dataset(EXAMPLES),
        processing_class=llava[1],
    )
    batch = trainer.data_collator(EXAMPLES[:2])
    trainer._counts = torch.tensor([1, 1])
    with pytest.raises(ValueError, match="max_length=3 cuts image tokens off.*increase it"):
        trainer.training_step(trainer.model, batch)


def test_a_batch_whose_labels_are_all_cut_off_is_refused(llava, lengths, tmp_path):
    with pytest.raises(ValueError, match=f"first batch have no token.*={lengths[0]} ends"):
        fit(llava, tmp_path, EXAMPLES, max_length=lengths[0])


def test_rows_whose_labels_are_all_cut_off_are_counted_once(llava, lengths, tmp_path):
    sentence = f"3 of the 8 rows of a batch .* have no token to train on: max_length={lengths[1]}"
    with pytest.warns(UserWarning, match=sentence) as seen:
        fit(llava, tmp_path, with_long_prompts(3), max_length=lengths[1], max_steps=3)
    assert len([w for w in seen if "no token to train on" in str(w.message)]) == 1


@pytest.mark.parametrize("max_length", [None, 10**6])
def test_whole_rows_are_not_warned_of(llava, max_length):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        SegmentCollator(llava[1], max_length=max_length)(EXAMPLES)


def test_encoding_counts_all_examples(llava, lengths):
    cut = SegmentCollator(llava[1], max_length=lengths[1])
    with pytest.warns(UserWarning, match="^5 of 8 examples have no token to train on") as seen:
        encode_examples(with_long_prompts(5), cut, batch_size=2)
    assert len(seen) == 1
    with pytest.raises(ValueError, match="^8 of 8 examples have no token to train on: max_length"):
        encode_examples(EXAMPLES, SegmentCollator(llava[1], max_length=lengths[0]))


def test_rows_of_which_only_the_prompt_is_left_are_told(llava, lengths):
    named = Segments.parse({"prompt": 0.1, "perception": 0.4, "reasoning": 0.5})
    sentence = "8 .* have no token of a response to train on: max_length"
    cut = SegmentCollator(llava[1], max_length=lengths[0], segments=named)
    with pytest.warns(UserWarning, match=sentence):
        batch = cut(EXAMPLES)
    assert (batch["labels"][:, 1:] != -100).any()
    with pytest.raises(ValueError, match=sentence):
        encode_examples(EXAMPLES, cut)
    rows = vlm.dataset([e | {"images": [e["image"]]} for e in EXAMPLES])
    tried = tried_rows(
        rows, SegmentCollator(llava[1], segments=named), llava[1], max_length=lengths[0]
    )
    assert {row.trained for row in tried} == {0}


def test_a_first_batch_of_prompts_alone_is_refused(llava, lengths, tmp_path):
    options = {"segments": {"prompt": 0.1, "perception": 0.4, "reasoning": 0.5}}
    with pytest.raises(ValueError, match="first batch have no token of a response to train on"):
        fit(llava, tmp_path, EXAMPLES, max_length=lengths[0], **options)


PART = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "look"}]}


@pytest.mark.parametrize("images", [[], ["one", "two"]])
def test_image_parts_and_images_must_be_as_many(llava, images):
    pictures = [EXAMPLES[0]["image"] for _ in images]
    rows = [{**e, "images": [e["image"]]} for e in EXAMPLES[:3]]
    rows[1] |= {"prompt": [PART], "images": pictures, "id": "cat-7"}
    for row in rows:
        del row["image"]
    sentence = f"example cat-7: its messages have 1 image parts, and the row has {len(images)} im"
    with pytest.raises(SegmentError, match=sentence):
        SegmentCollator(llava[1])(rows)
