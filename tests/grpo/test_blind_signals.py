"""Facts about what the policy is asked without the image: by every rank, and in the same way."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from percbal.grpo.blind_signals import blind_answers, image_dependence
from percbal.segments.sampled import GeneratedSegments
from percbal.segments.tagged import PERCEPTION, REASONING

RED = Image.new("RGB", (4, 4), (255, 0, 0))
BLUE = Image.new("RGB", (4, 4), (0, 0, 255))
IDS = [[7, 8, 9], [7, 8, 9], [7, 8, 9]]


def prompt(image):
    parts = [{"type": "image", "image": image}, {"type": "text", "text": "how many?"}]
    return [{"role": "user", "content": parts}]


class Policy:
    """Writes down what it is asked, and answers with how often it was asked before."""

    def __init__(self, processes: int = 1) -> None:
        self.accelerator = SimpleNamespace(num_processes=processes, device=torch.device("cpu"))
        self.args = SimpleNamespace(per_device_train_batch_size=2)
        self.model, self.passes, self.use_vllm = torch.nn.Dropout(0.5), [], False
        self.asked, self.given = [], []
        self._tokenizer = SimpleNamespace(
            batch_decode=lambda rows, skip_special_tokens: [str(row) for row in rows],
            pad_token_id=0,
        )

    def _tokenize_prompts(self, prompts):
        self.asked += prompts
        images = [image for row in prompts if (image := images_of(row))]
        fields = {"pixel_values": torch.ones(len(prompts), 3)} if images else {}
        return [[1, 2] for _ in prompts], images or None, fields

    def _generate_single_turn(self, ids, images, fields, num_generations):
        self.given += ids
        return [[100 + i] for i in range(len(ids))], None

    def _get_per_token_logps_and_entropies(self, model, ids, mask, keep, **fields):
        self.passes.append(fields)
        seen = float(fields["pixel_values"].sum()) if "pixel_values" in fields else 0.0
        return model(torch.full((len(ids), keep), -seen / 10)), None, None


def images_of(messages):
    return [part["image"] for m in messages for part in m["content"] if part["type"] == "image"]


def text_of(messages):
    return "".join(part.get("text", "") for m in messages for part in m["content"])


def segmented(*perceived):
    ids = [np.array([PERCEPTION if p else REASONING] * 2 + [REASONING]) for p in perceived]
    failed = np.array([p is None for p in perceived])
    return GeneratedSegments(ids, ["" for _ in perceived], list(perceived), failed)


def ask(policy, perceived, blind_from, samples=2):
    prompts = [prompt(RED), prompt(RED), prompt(BLUE)]
    return blind_answers(
        policy, prompts, IDS, segmented(*perceived), samples=samples, blind_from=blind_from
    )


def test_from_text_the_policy_gets_the_perception_and_no_image():
    policy = Policy()
    answers = ask(policy, ["two", "two", None], "text")
    assert answers == [["[100]", "[101]"]] * 2 + [None], "one perception of one prompt: once"
    assert not any(map(images_of, policy.asked))
    assert all("<perception>two</perception>" in text_of(asked) for asked in policy.asked)


def test_prompts_of_one_text_with_other_images_are_asked_apart():
    policy = Policy()
    answers = ask(policy, ["two", None, "two"], "text", samples=1)
    assert answers == [["[100]"], None, ["[101]"]]


def test_going_on_the_policy_sees_grey_and_its_own_perception():
    policy = Policy()
    answers = ask(policy, ["two", None, None], "continue", samples=1)
    assert [image.getcolors() for image in images_of(policy.asked[0])] == [[(16, (128,) * 3)]]
    assert policy.given == [[1, 2, 7, 8]] and answers[0] == ["[7, 8, 100]"]
    assert RED.getpixel((0, 0)) == (255, 0, 0), "the prompt itself keeps its image"


@pytest.mark.parametrize("blind_from", ["text", "continue"])
def test_a_rank_with_nothing_to_ask_takes_part_as_the_others_do(blind_from):
    """With sharded weights a rank that ran no vision tower would leave the others waiting."""
    idle, busy = Policy(processes=2), Policy(processes=2)
    assert ask(idle, [None] * 3, blind_from) == [None] * 3
    ask(busy, ["two"] * 3, blind_from)
    assert [len(images_of(policy.asked[0])) for policy in (idle, busy)] == [
        0 if blind_from == "text" else 1
    ] * 2
    alone = Policy()
    assert ask(alone, [None] * 3, blind_from) == [None] * 3 and not alone.asked


@pytest.mark.parametrize("blind_from", ["text", "continue"])
def test_with_vllm_every_rank_asks_as_often_as_the_busiest(blind_from):
    """They share a call, from whose answers each takes a share that is as large as its own."""
    policy = Policy(processes=2)
    policy.use_vllm = True
    policy.accelerator.gather = lambda here: torch.cat((here, torch.tensor([5])))
    answers = ask(policy, ["two", "two", None], blind_from)
    assert len(policy.asked) == len(policy.given) == 5 and len(answers[0]) == 2
    assert all(asked == policy.asked[0] for asked in policy.asked[2:])


def test_the_dependence_on_the_image_is_that_of_the_sampled_tokens():
    policy = Policy()
    d = 0.9  # what the image takes from every log-probability
    found = image_dependence(policy, [prompt(RED)] * 3, IDS)
    torch.testing.assert_close(found, torch.full((3,), float(np.exp(d) - d - 1)))


@pytest.mark.parametrize("training", [True, False])
def test_dropout_is_no_dependence_and_the_mode_stays_what_it_was(training):
    policy = Policy()
    policy.model.train(training)
    policy._get_per_token_logps_and_entropies = lambda model, ids, mask, keep, **fields: (
        model(torch.full((len(ids), keep), -1.0)),  # the image changes nothing
    )
    assert image_dependence(policy, [prompt(RED)] * 3, IDS).tolist() == [0.0] * 3
    assert policy.model.training is training
    policy._get_per_token_logps_and_entropies = lambda *args, **fields: 1 / 0
    with pytest.raises(ZeroDivisionError):
        image_dependence(policy, [prompt(RED)] * 3, IDS)
    assert policy.model.training is training


def test_without_images_nothing_depends_on_them():
    policy = Policy()
    texts = [[{"role": "user", "content": [{"type": "text", "text": "how many?"}]}]] * 3
    assert image_dependence(policy, texts, IDS).tolist() == [0.0] * 3
    assert len(policy.passes) == 2, "as many as the ranks that have images make"
