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

from percbal.evaluate.generation import complete
from percbal.evaluate.questions import picture_prompt
from percbal.grpo.blind_signals import blind_answers
from percbal.grpo.trainer import BalancedGRPOTrainer
from percbal.models.loading import load_processor
from percbal.responses.prompt import given_ids, render, trained_turn
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

    model = SimpleNamespace(
        device="cpu", _can_compile_fullgraph=False, generate=generate, generation_config=None
    )
    question = SimpleNamespace(
        prompt=lambda: picture_prompt(IMAGE, QUERY), response=RESPONSE, target=RESPONSE
    )
    prefix = "<perception> w2 </perception>"
    told = complete(model, processor, [question] * 2, ["", prefix])
    assert told == [("", False), (prefix, False)]
    assert asked == [[PAD] * 3 + PROMPT, PROMPT + PERCEIVED]


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


class Trl(GRPOTrainer):
    """The part of a trainer that renders prompts."""

    def __init__(self, processor, template=None, **options) -> None:
        self.processing_class = processor
        self._is_vlm = isinstance(processor, ProcessorMixin)
        self.environment_factories, self.tools, self.use_vllm = None, [], False
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

    opening = "[assistant]<think>"

    def apply_chat_template(
        self, messages, add_generation_prompt=False, continue_final_message=False, **_
    ):
        turns = [f"[{m['role']}]{m['content']}[end]" for m in messages]
        text = "".join(turns) + self.opening * add_generation_prompt
        return text.removesuffix("[end]") if continue_final_message else text


class Plain(Template):
    opening = "[assistant]"


class Spaced(Template):
    """Asks with a line break that a finished turn does not have, as LLaVA-OneVision's does."""

    opening = "[assistant]\n"


ASKED = [
    [turn("user", "how many?")],
    [turn("system", "count"), turn("user", "how many?")],
    [turn("user", "a"), turn("assistant", "b"), turn("tool", "c")],
]


@pytest.mark.parametrize("prompt", ASKED, ids=["user", "system", "tool"])
@pytest.mark.parametrize("template", [Plain, Template, Spaced])
def test_trained_as_trl_renders_it(template, prompt):
    completion = [turn("assistant", "two")]
    trl = apply_chat_template({"prompt": prompt, "completion": completion}, template())
    ours = trained_turn(template(), prompt, completion, begin="conversation")
    assert ours._asdict() == {name: trl[name] for name in ("prompt", "completion")}
    if template is Plain:  # the two renderings agree
        assert trained_turn(template(), prompt, completion) == ours


@pytest.mark.parametrize("prompt", ASKED, ids=["user", "system", "tool"])
@pytest.mark.parametrize(
    "template, response, completion",
    [
        (Plain, "<p>two", "<p>two[end]"),
        (Spaced, "<p>two", "<p>two[end]"),
        (Template, "<p>two", "\n</think>\n\n<p>two[end]"),
        (Template, "hm</think><p>two", "hm</think><p>two[end]"),
        (Template, "<think>hm</think><p>two", "hm</think><p>two[end]"),
    ],
)
def test_trained_to_continue_what_is_asked(template, prompt, response, completion):
    turned = trained_turn(template(), prompt, [turn("assistant", response)])
    assert turned == (render(template(), prompt), completion)


class Strict(Spaced):
    """Rewrites what a response says."""

    def apply_chat_template(self, messages, **options):
        return super().apply_chat_template(messages, **options).replace("two", "2")


def test_a_response_that_the_template_rewrites_is_refused():
    with pytest.raises(ValueError, match="changes the response, .* 'two'"):
        trained_turn(Strict(), ASKED[0], [turn("assistant", "two")])
    with pytest.raises(ValueError, match="must be one message, got 2"):
        trained_turn(Spaced(), ASKED[0], [turn("assistant", "two"), turn("user", "why?")])


def test_the_given_beginning_has_the_ids_of_a_trained_response(processor):
    tokenizer = processor.tokenizer
    assert given_ids(tokenizer, RESPONSE + " <eos>", "<perception> w2 </perception>") == PERCEIVED
    assert given_ids(tokenizer, "w1 " + RESPONSE, "<perception>") == [W1, OPEN]
    with pytest.raises(ValueError, match="does not contain 'w9'"):
        given_ids(tokenizer, RESPONSE, "w9")


def test_a_rollout_goes_on_in_the_turn_that_its_prompt_ends_with(processor):
    """Stock TRL samples in another turn of the assistant, and trains on the one that goes on."""
    prompt = [[*WITH_IMAGE, turn("assistant", "w2")]]
    assert Policy(processor)._tokenize_prompts(prompt)[0] == [[*PROMPT, W2]]
    assert Trl(processor)._tokenize_prompts(prompt)[0] == [[*PROMPT, W2, EOS]]


def test_a_prompt_ends_where_the_model_goes_on():
    asked = [turn("user", "how many?")]
    assert render(Template(), asked) == "[user]how many?[end][assistant]<think>"
    assert render(Template(), [*asked, turn("assistant", "<p>")]).endswith("[assistant]<p>")
    assert render(Template(), asked, finished=True) == "[user]how many?[end]"
    with pytest.raises(ValueError, match="must end with .* got one of role 'system'"):
        render(Template(), [turn("system", "count")])
