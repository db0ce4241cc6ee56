"""What a policy might write to be paid without seeing, reward by reward."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from percbal import rewards
from percbal.rewards.texts import LONGEST
from percbal.tasks import get_task

TASK = get_task("sudoku")
BY_TASK = rewards.from_task(TASK)
GROUP = 3
INSTANCES = [TASK.generate(i, "train", seed=3) for i in range(4) for _ in range(GROUP)]
COLUMNS = {
    "prompts": [[{"role": "user", "content": instance.query}] for instance in INSTANCES],
    "image": [instance.image for instance in INSTANCES],
    "perception": [instance.perception for instance in INSTANCES],
    "answer": [instance.answer for instance in INSTANCES],
    "grammar": ["grid"] * len(INSTANCES),
    "truth": [instance.truth for instance in INSTANCES],
    # the worst case: whoever answers blind is right, and a masked image changes everything
    "blind_answers": [[f"<answer>{instance.answer}</answer>"] * 2 for instance in INSTANCES],
    "masked_image_kl": [3.0] * len(INSTANCES),
}
LABELLED = {
    name: getattr(rewards, name) for name in ("outcome", "format", "perception", "perception_f1")
}
LABEL_FREE = {
    name: getattr(rewards, name)
    for name in ("group_agreement", "blind_reanswer", "masked_image_kl")
}
ALL = LABELLED | LABEL_FREE | {f"task {f.__name__}": f for f in BY_TASK}
OF_PERCEPTION = [name for name in ALL if name.split()[-1] not in ("outcome", "format")]
OF_ANSWER = ["outcome", "task outcome"]


def score(name, completions, **columns):
    return ALL[name](completions=completions, **(COLUMNS | columns))


def response(instance, **spans) -> str:
    """The right response with some spans replaced; None leaves a span out."""
    parts = {name: getattr(instance, name) for name in ("perception", "reasoning", "answer")}
    parts |= spans
    return " ".join(f"<{n}> {text} </{n}>" for n, text in parts.items() if text is not None)


def tagged(span, text):
    return f"<{span}> {text} </{span}>"


def everything_possible():
    return " ".join(f"r{r}c{c}={v}" for r in range(1, 5) for c in range(1, 5) for v in "_1234")


ATTACKS = {
    "missing": lambda i, span: response(i, **{span: None}),
    "empty": lambda i, span: response(i, **{span: ""}),
    "only punctuation": lambda i, span: response(i, **{span: "[[[ , ]]] ..."}),
    "enormous": lambda i, span: response(
        i, **{span: f"{getattr(i, span)} {'pad ' * LONGEST}{getattr(i, span)}"}
    ),
    "everything possible": lambda i, span: response(i, **{span: everything_possible()}),
    "repeated, right first": lambda i, span: response(i) + tagged(span, "r1c1=1"),
    "repeated, right last": lambda i, span: tagged(span, "r1c1=1") + response(i),
    "hidden before the tags": lambda i, span: getattr(i, span) + response(i, **{span: None}),
    "hidden after the tags": lambda i, span: response(i, **{span: ""}) + getattr(i, span),
    "hidden in another span": lambda i, span: response(
        i, **{span: None, "reasoning": getattr(i, span)}
    ),
    "unclosed": lambda i, span: response(i, **{span: None}) + f"<{span}>{getattr(i, span)}",
    "unopened": lambda i, span: f"{getattr(i, span)}</{span}>" + response(i, **{span: None}),
    "nested": lambda i, span: response(i, **{span: tagged(span, getattr(i, span))}),
    "other tag inside": lambda i, span: response(i, **{span: f"<reasoning>{getattr(i, span)}"}),
    "almost a tag": lambda i, span: (
        response(i, **{span: None}) + f"<{span.title()}>{getattr(i, span)}</{span.title()}>"
    ),
    "out of order": lambda i, span: (
        response(i, reasoning=None, perception=None) + tagged("perception", i.perception)
    ),
}
LABELS_ONLY = "everything possible"  # what refuses it without labels is in the test of constants
NO_LABELS = ("group_agreement", "blind_reanswer", "task blind_reanswer", "masked_image_kl")


@pytest.mark.parametrize("name", ALL)
def test_an_honest_response_is_paid(name):
    scores = score(name, [response(instance) for instance in INSTANCES])
    assert all(s is not None and s > 0.1 for s in scores)


@pytest.mark.parametrize(
    "name, attack",
    [
        (name, attack)
        for name in OF_PERCEPTION
        for attack in ATTACKS
        if attack != LABELS_ONLY or name not in NO_LABELS
    ],
)
def test_a_perception_that_is_none_earns_nothing(name, attack):
    honest = [response(instance) for instance in INSTANCES]
    attacker = ATTACKS[attack](INSTANCES[0], "perception")
    assert score(name, [attacker, *honest[1:]])[0] == 0
    everyone = [ATTACKS[attack](instance, "perception") for instance in INSTANCES]
    assert score(name, everyone) == [0] * len(INSTANCES)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("name", OF_ANSWER)
def test_an_answer_that_is_none_earns_nothing(name, attack):
    everyone = [ATTACKS[attack](instance, "answer") for instance in INSTANCES]
    assert score(name, everyone) == [0] * len(INSTANCES)


@pytest.mark.parametrize(
    "attack, span",
    [
        (attack, span)
        for attack in ATTACKS
        for span in ("perception", "answer")
        # form has no labels, and the length limit bounds answers
        if attack != LABELS_ONLY and (attack, span) != ("enormous", "answer")
    ],
)
def test_bad_form_earns_nothing(attack, span):
    everyone = [ATTACKS[attack](instance, span) for instance in INSTANCES]
    assert score("format", everyone) == [0] * len(INSTANCES)


@pytest.mark.parametrize("own_answer", ["right", "missing", "other"])
@pytest.mark.parametrize("name", OF_PERCEPTION)
def test_copying_the_answer_into_the_perception_earns_nothing(name, own_answer):
    answers = {"right": lambda i: i.answer, "missing": lambda _: None, "other": lambda _: "r1c1=1"}
    everyone = [
        response(i, perception=f"It says: {i.answer}.", answer=answers[own_answer](i))
        for i in INSTANCES
    ]
    assert score(name, everyone) == [0] * len(INSTANCES)
    exactly = [response(i, perception=i.answer, answer=answers[own_answer](i)) for i in INSTANCES]
    assert score(name, exactly) == [0] * len(INSTANCES)


@pytest.mark.parametrize("name", ["group_agreement", "task reasoning"])
def test_a_copied_answer_is_known_without_labels(name):
    everyone = [response(i, perception=i.answer) for i in INSTANCES]
    unlabelled = {"answer": [None] * len(INSTANCES), "perception": [None] * len(INSTANCES)}
    assert score(name, everyone, **unlabelled) == [0] * len(INSTANCES)


@pytest.mark.parametrize("name", ["blind_reanswer", "task blind_reanswer"])
def test_a_blind_answer_that_is_copied_is_not_counted(name):
    perception = [f"{i.perception} {i.answer}" for i in INSTANCES]
    everyone = [
        response(i, perception=p, answer=None) for i, p in zip(INSTANCES, perception, strict=True)
    ]
    assert score(name, everyone) == [0] * len(INSTANCES)
    if name.startswith("task"):
        hidden = {"answer": [None] * len(INSTANCES)}
        assert score(name, everyone, **hidden) == [0] * len(INSTANCES)


@pytest.mark.parametrize("known", ["own", "label"])
def test_a_copy_is_refused_though_the_blind_answer_is_spelt_otherwise(known):
    own = [i.answer if known == "own" else None for i in INSTANCES]
    everyone = [
        response(i, perception=i.answer, answer=a) for i, a in zip(INSTANCES, own, strict=True)
    ]
    spelt = [[tagged("answer", str(instance.truth["solution"]))] for instance in INSTANCES]
    label = [i.answer if known == "label" else str(i.truth["solution"]) for i in INSTANCES]
    assert score("outcome", [texts[0] for texts in spelt], answer=label) == [1] * len(spelt)
    assert score("blind_reanswer", everyone, blind_answers=spelt, answer=label) == [0] * len(spelt)


@pytest.mark.parametrize("name", ["perception_f1", "group_agreement", "blind_reanswer"])
def test_an_answer_that_the_image_shows_is_no_copy(name):
    instance, n = INSTANCES[0], len(INSTANCES)
    answer = " ".join(instance.perception.split()[:2])
    columns = {
        "image": [instance.image] * n,
        "answer": [answer] * n,
        "perception": [instance.perception] * n,
        "blind_answers": [[tagged("answer", answer)]] * n,
    }
    assert score(name, [response(instance, answer=answer)] * n, **columns) == [1] * n


@pytest.mark.parametrize(
    "constant", ["x", "a grid with some digits", "r1c1=1 r1c2=_ " * 8, everything_possible()]
)
def test_a_constant_perception_agrees_as_much_elsewhere(constant):
    everyone = [response(i, perception=constant) for i in INSTANCES]
    assert score("group_agreement", everyone) == [0] * len(INSTANCES)


def test_filler_does_not_drown_disagreement():
    """Padding with what everyone writes raises every similarity, and so earns less, not more."""
    wrong = INSTANCES[1:] + INSTANCES[:1]
    mixed = [
        response(i, perception=w.perception if n % GROUP else i.perception)
        for n, (i, w) in enumerate(zip(INSTANCES, wrong, strict=True))
    ]
    padded = [text.replace(" </perception>", " pad" * 500 + " </perception>") for text in mixed]
    plain, drowned = score("group_agreement", mixed), score("group_agreement", padded)
    assert sum(plain) > 0 and all(d <= p for d, p in zip(drowned, plain, strict=True))
    assert sum(drowned) < 0.1 * sum(plain)


@pytest.mark.parametrize("attack", sorted(set(ATTACKS) - {LABELS_ONLY}))
def test_agreeing_with_a_refused_sibling_does_not_pay(attack):
    honest = [response(instance) for instance in INSTANCES]
    before = score("group_agreement", honest)
    after = score("group_agreement", [ATTACKS[attack](INSTANCES[0], "perception"), *honest[1:]])
    assert after[1] < before[1] and after[2] < before[2]


def test_one_image_alone_cannot_expose_a_constant():
    """A limit that the documentation states."""
    one = {name: column[:GROUP] for name, column in COLUMNS.items()}
    constant = [response(i, perception="x") for i in INSTANCES[:GROUP]]
    assert rewards.group_agreement(completions=constant, **one) == [1] * GROUP


STRANGE = [
    None,
    7,
    [],
    [None],
    [{"role": "assistant"}],
    [{"role": "assistant", "content": None}],
    [{"role": "assistant", "content": [{"type": "text"}, {"type": "image", "image": None}, 3]}],
    [{"role": "tool", "content": response(INSTANCES[0])}],
    "<perception>\x00</perception>" * 2,
]


@pytest.mark.parametrize("name", ALL)
def test_strange_completions_earn_nothing_and_raise_nothing(name):
    for strange in STRANGE:
        completions = [strange] + [response(instance) for instance in INSTANCES[1:]]
        assert score(name, completions)[0] == 0
    score(name, ["\ud800<perception>\udfff</perception>"] * len(INSTANCES))


piece = st.sampled_from(
    ["<perception>", "</perception>", "<reasoning>", "</reasoning>", "<answer>", "</answer>"]
    + [" ", "é", "\n", "r1c1=1", "r1c1=_", INSTANCES[0].perception, INSTANCES[0].answer]
) | st.text(max_size=5)
anything = st.lists(piece, max_size=14).map("".join)


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(anything, min_size=2 * GROUP, max_size=2 * GROUP))
def test_any_text_gets_a_share_and_only_a_readable_perception_a_positive_one(texts):
    columns = {name: column[: 2 * GROUP] for name, column in COLUMNS.items()}
    for name, reward in ALL.items():
        scores = reward(completions=texts, **columns)
        assert len(scores) == len(texts)
        for text, value in zip(texts, scores, strict=True):
            highest = 3.0 if name == "masked_image_kl" else 1.0
            assert value is not None and math.isfinite(value) and 0 <= value <= highest
            if name in OF_PERCEPTION and text.count("<perception>") != 1:
                assert value == 0


@settings(max_examples=60, deadline=None)
@given(
    hidden=st.text(alphabet=st.characters(blacklist_characters="<>"), min_size=1, max_size=30),
    at=st.sampled_from(["before", "between", "after"]),
)
def test_text_outside_the_tags_changes_no_perception_reward(hidden, at):
    honest = [response(instance) for instance in INSTANCES]
    text = honest[0]
    hiding = {
        "before": hidden + text,
        "between": text.replace("</perception>", f"</perception>{hidden}"),
        "after": text + hidden,
    }[at]
    for name in OF_PERCEPTION:
        assert score(name, [hiding, *honest[1:]]) == score(name, honest)
    assert score("format", [hiding, *honest[1:]])[0] == float(not hidden.strip())
