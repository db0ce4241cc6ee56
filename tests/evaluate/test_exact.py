"""Facts about the probability of the true perception, by one forward pass."""

from __future__ import annotations

import json
import math

import pytest
import torch
from answerers import SUDOKU, questions

from percbal.evaluate.accuracies import measured
from percbal.evaluate.comparison import compare
from percbal.evaluate.diagnose import diagnose
from percbal.evaluate.exact import perception_probabilities
from percbal.models.loading import load_vlm
from percbal.models.tiny import build_tiny_vlm


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    sizes = {"hidden": 16, "layers": 1, "heads": 2, "mlp": 32}
    model, processor = load_vlm(
        build_tiny_vlm(tmp_path_factory.mktemp("model"), SUDOKU.vocabulary(), **sizes)
    )
    return model.eval(), processor


@torch.no_grad()
def token_by_token(model, processor, question):
    """Its words one at a time, each behind those before it; this tokenizer's are words."""
    text = processor.apply_chat_template(
        question.prompt(), tokenize=False, add_generation_prompt=True
    )
    image = question.prompt()[0]["content"][0]["image"]
    inputs = processor(images=[image], text=[text], return_tensors="pt", add_special_tokens=False)
    ids, pixels = inputs["input_ids"], inputs["pixel_values"]
    probability = 1.0
    for word in question.beginning.split():
        token = processor.tokenizer.convert_tokens_to_ids(word)
        logits = model(input_ids=ids, pixel_values=pixels).logits[0, -1]
        probability *= torch.softmax(logits.double(), -1)[token].item()
        ids = torch.cat((ids, torch.tensor([[token]])), 1)
    return probability


def test_it_is_the_product_over_the_words_of_the_true_perception(made):
    asked = questions(3)
    found = perception_probabilities(*made, asked)
    wanted = [token_by_token(*made, question) for question in asked]
    assert 0 < min(found) and [math.log(p) for p in found] == pytest.approx(
        [math.log(p) for p in wanted], rel=1e-5
    )


def test_it_stands_in_the_result_once_an_instance(made):
    options = {"n": 3, "progress": False, "max_new_tokens": 2, "batch_size": 2}
    result = diagnose(*made, SUDOKU, exact=True, **options)
    found = perception_probabilities(*made, questions(3))
    assert [record.a_p_exact for record in result.records] == found
    assert result.accuracies["a_p_exact"].value == pytest.approx(sum(found) / 3)
    assert "a_p_exact" not in measured(diagnose(*made, SUDOKU, **options).records)
    said = json.loads(json.dumps(result.to_dict()))
    compared = compare(said, said)["accuracies"]["a_p_exact"]
    assert compared["difference"] == 0 and compared["p"] is None
