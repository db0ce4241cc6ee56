"""What rewards pay that need no labels: agreement, blind answers, dependence on the image."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from reward_fixtures import ask, picture, said, turns

from percbal import rewards
from percbal_ops import group_agreement as mean_similarity

# group agreement


def agreement(texts, prompts, **columns):
    return rewards.group_agreement([turns(said(t)) for t in texts], prompts=prompts, **columns)


def test_of_one_prompt_it_is_the_mean_edit_similarity_of_words():
    texts = ["a b c d", "a b c", "a x c d", "[a, b; c d]"]
    ids = torch.tensor([0, 1, 2, 3, 0, 1, 2, 0, 4, 2, 3, 0, 1, 2, 3])
    expected = mean_similarity(ids, torch.tensor([0, 4, 7, 11, 15]), torch.zeros(4).long())
    assert agreement(texts, [ask()] * 4) == pytest.approx(expected.tolist())


def test_agreement_elsewhere_is_subtracted():
    prompts = [ask(picture(0))] * 2 + [ask(picture(9))] * 2
    texts = ["a b c d"] * 2 + ["a b x y"] * 2
    logged = {}
    scores = agreement(texts, prompts, log_metric=logged.__setitem__)
    assert scores == [0.5] * 4
    assert logged == {"group_agreement/elsewhere": 0.5, "group_agreement/refused": 0}


@pytest.mark.parametrize("where", ["prompt", "image", "images", "path"])
def test_a_group_is_one_text_and_one_picture_by_content(where):
    """Each rollout decodes its image anew, and a split of the rows keeps no order."""
    order = [0, 1, 0, 1]
    pictures = [f"{i}.png" if where == "path" else picture(i) for i in order]
    prompts = [ask(p if where == "prompt" else None) for p in pictures]
    columns = {"image": pictures} if where in ("image", "path") else {}
    columns |= {"images": [[p] for p in pictures]} if where == "images" else {}
    texts = ["a b", "c d", "a b", "c e"]
    assert agreement(texts, prompts, **columns) == [1, 0.5, 1, 0.5]


def test_two_questions_about_one_picture_are_two_groups_but_not_elsewhere():
    prompts = [ask(picture(0), "what?")] * 2 + [ask(picture(0), "how many?")] * 2
    assert agreement(["a b"] * 4, prompts) == [1] * 4


def test_without_siblings_there_is_no_score():
    assert agreement(["a", "a", "b"], [ask(), ask(), ask(text="other")])[2] is None
    assert rewards.group_agreement([], prompts=[]) == []


def test_images_of_any_kind_have_an_identity():
    for make in (
        lambda v: np.full((2, 2), v),
        lambda v: torch.full((2, 2), v),
        lambda v: {"bytes": bytes([v]), "path": None},
        lambda v: bytes([v]),
    ):
        prompts = [ask(make(v)) for v in (0, 0, 1, 1)]
        assert agreement(["a", "a", "b", "b"], prompts) == [1] * 4


# blind re-answering


def test_the_share_of_blind_answers_that_are_right():
    right, wrong = said(answer="7 8"), said(answer="9")
    completions = [said("a b")] * 5
    blind = [[right, right], [right, wrong], ["7 8", wrong], None, []]
    scores = rewards.blind_reanswer(completions, blind_answers=blind, answer=["7 8"] * 5)
    assert scores == [1, 0.5, 0, 0, None]


def test_blind_messages_put_the_perception_in_the_place_of_the_image():
    prompt = [
        {"role": "system", "content": "be brief"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look: "},
                {"type": "image", "image": picture(0)},
                {"type": "image", "image": picture(1)},
                {"type": "text", "text": "how many?"},
            ],
        },
    ]
    before = repr(prompt)
    system, user = rewards.blind_messages(prompt, " 3 dots ")
    assert system == prompt[0] and repr(prompt) == before
    shown = {"type": "text", "text": "<perception> 3 dots </perception>\n"}
    texts = [{"type": "text", "text": text} for text in ("Look: ", "how many?")]
    assert user == {"role": "user", "content": [texts[0], shown, texts[1]]}


def test_blind_messages_without_an_image_part():
    shown = "<perception>dots</perception>\n"
    assert rewards.blind_messages("how many?", "dots") == shown + "how many?"
    prompt = [{"role": r, "content": c} for r, c in (("system", "s"), ("user", "u"), ("user", "v"))]
    contents = [m["content"] for m in rewards.blind_messages(prompt, "dots")]
    assert contents == ["s", shown + "u", "v"]
    parts = [{"role": "user", "content": [{"type": "text", "text": "u"}]}]
    assert [p["text"] for p in rewards.blind_messages(parts, "dots")[0]["content"]] == [shown, "u"]


# dependence on the image


def test_masked_kl_is_the_k3_estimator():
    g = torch.Generator().manual_seed(0)
    logp, masked = -torch.rand(2, 4, 9, generator=g, dtype=torch.float64) * 3
    mask = torch.rand(4, 9, generator=g) < 0.6
    d = masked - logp
    expected = ((d.exp() - d - 1) * mask).sum(1) / mask.sum(1)
    actual = rewards.masked_kl(logp.float(), masked.float(), mask)
    assert actual.dtype == torch.float32 and actual.shape == (4,)
    torch.testing.assert_close(actual.double(), expected, rtol=1e-5, atol=1e-7)
    assert (rewards.masked_kl(logp, logp, mask) == 0).all()


def test_masked_kl_estimates_the_divergence():
    g = torch.Generator().manual_seed(0)
    p, q = torch.rand(2, 6, generator=g).softmax(1)
    tokens = torch.multinomial(p, 200_000, replacement=True, generator=g)[None]
    estimate = rewards.masked_kl(p.log()[tokens], q.log()[tokens], torch.ones_like(tokens))
    assert estimate.item() == pytest.approx((p * (p / q).log()).sum().item(), rel=0.02)


def test_masked_kl_is_cut_and_ignores_what_is_masked_out():
    nan, inf = math.nan, math.inf
    logp = torch.tensor([[-30.0, -1.0], [-1.0, nan], [0.0, -inf], [-1.0, -1.0]])
    masked = torch.tensor([[-1.0, -1.0], [-1.0, nan], [-50.0, -inf], [-3.0, -3.0]])
    mask = torch.tensor([[1, 1], [1, 0], [1, 0], [0, 0]])
    assert rewards.masked_kl(logp, masked, mask).tolist() == [5.0, 0.0, 10.0, 0.0]
    with pytest.raises(ValueError, match=r"one shape \(B, T\), got \(4, 2\), \(4, 2\) and \(4,\)"):
        rewards.masked_kl(logp, masked, mask[:, 0])


def test_masked_image_kl_passes_the_column_on():
    values = [0.5, None, math.nan, math.inf, 0.5]
    completions = [said("a", "b")] * 4 + ["a"]
    assert rewards.masked_image_kl(completions, values) == [0.5, None, None, None, 0]
