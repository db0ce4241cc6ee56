"""How likely a model is to write the true perception: no draw, so no noise of sampling."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel, ProcessorMixin

from percbal.evaluate.questions import Question
from percbal.models.inputs import model_inputs
from percbal.responses.prompt import given_ids, prompt_ids, trained_turn


@torch.no_grad()
def perception_probabilities(
    model: PreTrainedModel, processor: ProcessorMixin, questions: Sequence[Question]
) -> list[float]:
    """Probability at temperature 1 that a response begins with each question's ``beginning``.

    By one forward pass for each question: the product over the tokens of the beginning, as the
    model was trained to write them. Other ways to write a right perception are not in it.
    """
    return [_probability(model, processor, question) for question in questions]


def _probability(model: PreTrainedModel, processor: Any, question: Question) -> float:
    prompt = question.prompt()
    response = {"role": "assistant", "content": [{"type": "text", "text": question.response}]}
    turn = trained_turn(processor, prompt, [response])
    given = given_ids(processor.tokenizer, turn.completion, question.beginning)
    asked = prompt_ids(processor, [prompt])
    inputs = model_inputs(asked.ids, asked.fields, 0, [given])  # one row, so nothing is padded
    kept = {}
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        kept["logits_to_keep"] = len(given) + 1  # logits of a whole image would be large
    inputs = {name: value.to(model.device) for name, value in inputs.items()}
    logits = model(**inputs, **kept, use_cache=False).logits[0, -len(given) - 1 : -1]
    written = torch.tensor(given, device=logits.device)
    said = torch.log_softmax(logits.float(), -1).gather(-1, written[:, None])
    return math.exp(said.double().sum().item())
