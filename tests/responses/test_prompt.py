"""Fine-tuning, diagnosis, rollouts and what is asked without the image see one rendering."""

from __future__ import annotations

from functools import cached_property
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import vlm_fixtures as vlm
from PIL import Image
from transformers import ProcessorMixin
from trl import GRPOTrainer
from trl.data_utils import apply_chat_template

from percbal.evaluate.diagnose import complete
from percbal.grpo.blind_signals import blind_answers
from percbal.grpo.trainer import BalancedGRPOTrainer
from percbal.models.loading import load_processor
from percbal.responses.prompt import render, response_text
from percbal.segments.sampled import GeneratedSegments
from percbal.segments.tagged import PERCEPTION, REASONING
from percbal.sft.collate import SegmentCollator

QUERY, RESPONSE = "look w1", "<perception> w2 </perception> w3"
IMAGE = Image.new("RGB", (32, 32))
BOS, EOS, PAD, IMAGE_ID, LOOK, OPEN, CLOSE, W1, W2, W3 = 2, 3, 0, 4, 5, 6, 7, 13, 14, 15
PROMPT = [BOS, *[IMAGE_ID] * 4, LOOK, W1]
PERCEIVED = [OPEN, W2, CLOSE]
WITH_IMAGE = [
    {
        "role": "user",
        "content": [{"type": "image", "image": IMAGE}, {"type": "text", "text": QUERY}],
    }
]


@pytest.fixture(scope="module")
def processor(tmp_path_factory):
    return load_processor(vlm.tiny_llava(tmp_path_factory.mktemp("model")))


def test_the_ids_of_fine_tuning(processor):
    example = {
        "image": IMAGE,
        "prompt": [{"role": "user", "content": QUERY}],
        "completion": [{"role": "assistant", "content": RESPONSE}],
    }
    batch = SegmentCollator(processor)([example])
    assert batch["input_ids"].tolist() == [[*PROMPT, *PERCEIVED, W3, EOS]]
    assert batch["labels"].tolist() == [[-100] * len(PROMPT) + [*PERCEIVED, W3, EOS]]


def test_the_ids_of_a_diagnosis(processor):
    asked = []

    def generate(input_ids, **_):
        asked.extend(input_ids.tolist())
        return torch.cat((input_ids, torch.full((len(input_ids), 1), EOS)), 1)

    model = SimpleNamespace(device="cpu", _can_compile_fullgraph=False, generate=generate)
    instance = SimpleNamespace(image=IMAGE, query=QUERY, response=RESPONSE)
    prefix = "<perception> w2 </perception>"
    assert complete(model, processor, [instance] * 2, ["", prefix]) == ["", prefix]
    assert asked == [[PAD] * 3 + PROMPT, PROMPT + PERCEIVED]


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


class Trl(GRPOTrainer):
    """The part of a trainer that renders prompts."""

    def __init__(self, processor, template=None, **options) -> None:
        self.processing_class = processor
        self._is_vlm = isinstance(processor, ProcessorMixin)
        self.environment_factories, self.tools = None, []
        self.chat_template, self.chat_template_kwargs = template, options


class Policy(BalancedGRPOTrainer, Trl):
    """The same part of ours, and one that writes down what it is asked."""

    __init__ = Trl.__init__
    accelerator = SimpleNamespace(num_processes=1)

    @property
    def _tokenizer(self):
        return self.processing_class.tokenizer

    @cached_property
    def asked(self) -> list[list[int]]:
        return []

    def _generate_single_turn(self, ids, *_):
        self.asked += ids
        return [[EOS] for _ in ids], None


@pytest.mark.parametrize(
    "blind_from, expected",
    [("text", [BOS, OPEN, W2, CLOSE, LOOK, W1]), ("continue", PROMPT + PERCEIVED)],
)
def test_the_ids_of_rollouts_and_of_questions_without_the_image(processor, blind_from, expected):
    policy = Policy(processor)
    assert policy._tokenize_prompts([WITH_IMAGE])[0] == [PROMPT]
    segmented = GeneratedSegments(
        [np.array([PERCEPTION] * 3 + [REASONING])], [RESPONSE], [" w2 "], np.array([False])
    )
    ids = [[*PERCEIVED, W3]]
    blind_answers(policy, [WITH_IMAGE], ids, segmented, samples=1, blind_from=blind_from)
    assert policy.asked == [expected]


def user(*parts) -> dict:
    texts = [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]
    return {"role": "user", "content": texts}


SHOWN = {"type": "image", "image": IMAGE}
CONVERSATIONS = {
    "an image": [WITH_IMAGE] * 2,
    "words alone": [[turn("user", "w1")]],
    "longer and shorter": [WITH_IMAGE, [user("w1")]],
    "two images": [[user(SHOWN, "w1", SHOWN, "w2")]],
    "after a system message": [[turn("system", "w3"), *WITH_IMAGE]],
    "after an answer": [[*WITH_IMAGE, turn("assistant", "w2"), turn("user", "w3")]],
    "that end with the assistant": [[*WITH_IMAGE, turn("assistant", "w2")]],
    "without a template": ["look w1", "w2"],
}
SPOKEN = (  # a template that the trainer brings, with an option
    "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}{{ name }} {% endif %}"
)


@pytest.mark.parametrize("prompts", CONVERSATIONS.values(), ids=CONVERSATIONS)
@pytest.mark.parametrize("family", ["llava", "qwen", "words"])
def test_prompts_of_rollouts_are_those_of_trl(processor, family, prompts):
    if family == "qwen":
        processor = vlm.tiny_qwen()[1]
    trainers = [kind(processor) for kind in (Policy, Trl)]
    if family == "words":  # a tokenizer, for models without images
        prompts = [p if isinstance(p, str) else [turn(m["role"], "w1") for m in p] for p in prompts]
        trainers = [kind(processor.tokenizer, SPOKEN, name="w2") for kind in (Policy, Trl)]
    ours, theirs = (trainer._tokenize_prompts(prompts) for trainer in trainers)
    assert [*ours[0]] == [*theirs[0]] and ours[1] == theirs[1]
    torch.testing.assert_close(dict(ours[2]), dict(theirs[2]), rtol=0, atol=0)


class Template:
    """Opens a turn with a tag that a finished turn does not have, as templates for thinking do."""

    def apply_chat_template(
        self, messages, add_generation_prompt=False, continue_final_message=False, **_
    ):
        turns = [f"[{m['role']}]{m['content']}[end]" for m in messages]
        text = "".join(turns) + "[assistant]<think>" * add_generation_prompt
        return text.removesuffix("[end]") if continue_final_message else text


@pytest.mark.parametrize(
    "prompt, response",
    [
        ([turn("user", "how many?")], "two[end]"),
        ([turn("system", "count"), turn("user", "how many?")], "two[end]"),
        ([turn("user", "a"), turn("assistant", "b"), turn("tool", "c")], "two[end]"),
        # a finished turn cannot go on in another one
        ([turn("user", "how many?"), turn("assistant", "<p>")], "[end][assistant]two[end]"),
    ],
)
def test_a_response_begins_where_trl_lets_it_begin(prompt, response):
    completion = [turn("assistant", "two")]
    trl = apply_chat_template({"prompt": prompt, "completion": completion}, Template())
    assert response_text(Template(), prompt, completion) == trl["completion"] == response


def test_a_prompt_ends_where_the_model_goes_on():
    asked = [turn("user", "how many?")]
    assert render(Template(), asked) == "[user]how many?[end][assistant]<think>"
    assert render(Template(), [*asked, turn("assistant", "<p>")]).endswith("[assistant]<p>")
    assert render(Template(), asked, finished=True) == "[user]how many?[end]"
    with pytest.raises(ValueError, match="must end with .* got one of role 'system'"):
        render(Template(), [turn("system", "count")])
