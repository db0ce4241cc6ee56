"""Facts about the reward and the token rewards for verl that hold without verl."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from vlm_fixtures import byte_tokenizer

from percbal import rewards
from percbal.adapters.verl import compute_score
from percbal.adapters.verl.token_rewards import NO_SPAN, read, write
from percbal.segments.sampled import segment_completions

TRUTH = {"perception": "r1c1=1 r1c2=_ r2c1=_ r2c2=2", "answer": "r1c1=1 r1c2=2 r2c1=2 r2c2=2"}
SHORT = {"perception": "0-1 1-2 2-3", "answer": "7"}


def response(perception: str, answer: str, reasoning: str = "so") -> str:
    return (
        f"<perception>{perception}</perception> <reasoning>{reasoning}</reasoning> "
        f"<answer>{answer}</answer>"
    )


def grid(text: str, **options) -> dict[str, float]:
    options = {"answer_grammar": "grid"} | options
    return compute_score("grids", text, TRUTH, **options)


def edges(text: str, **options) -> dict[str, float]:
    options = {"perception_grammar": "edges"} | options
    return compute_score("graphs", text, SHORT, **options)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("sees", [False, True])
@pytest.mark.parametrize("solves", [False, True])
def test_the_score_mixes_both_parts(alpha, sees, solves):
    perception = TRUTH["perception"] if sees else "r1c1=2 r1c2=_ r2c1=_ r2c2=2"
    answer = TRUTH["answer"] if solves else "r1c1=1"
    result = grid(response(perception, answer), alpha=alpha)
    assert result["perception"] == sees and result["outcome"] == solves and result["format"] == 1
    assert result["score"] == pytest.approx(alpha * sees + (1 - alpha) * solves)


def test_ground_truth_may_be_json():
    text = response(TRUTH["perception"], TRUTH["answer"])
    assert compute_score("d", text, json.dumps(TRUTH), answer_grammar="grid")["score"] == 1


PAYS_NOTHING = "empty untagged span-empty span-blank unclosed repeated answer-copied padded often"
PIECES = [
    "<perception>",
    "</perception>",
    "<answer>",
    "</answer>",
    "r1c1=1",
    "\ud800",
    "\x00",
    "[[",
]


@pytest.mark.parametrize(
    "text",
    [
        "",
        TRUTH["perception"],  # without tags
        response("", TRUTH["answer"]),
        response(" \n ", TRUTH["answer"]),
        f"<perception>{TRUTH['perception']} <answer>{TRUTH['answer']}</answer>",
        f"{response(TRUTH['perception'], '')} <perception>{TRUTH['perception']}</perception>",
        response(TRUTH["answer"], TRUTH["answer"]),
        response(TRUTH["perception"] + " " * 1000, TRUTH["answer"]),
        response(" ".join([TRUTH["perception"]] * 9), TRUTH["answer"]),
    ],
    ids=PAYS_NOTHING.split(),
)
def test_no_perception_reward_for(text):
    for score in ("exact", "f1"):
        assert grid(text, perception_score=score)["perception"] == 0


def test_partial_perception_earns_f1_unless_it_holds_the_answer():
    def f1(perception: str) -> float:
        return edges(response(perception, "7"), perception_score="f1")["perception"]

    assert f1("0-1 1-2") == pytest.approx(0.8)
    assert f1("0-1 1-2 7") == 0
    assert f1("0-1 1-2 77") > 0
    # an answer that is also to be seen is not a leak
    seen = {"perception": "0-1 1-2 2-7", "answer": "7"}
    result = compute_score("d", response("0-1 2-7", "7"), seen, perception_grammar="edges")
    assert result["perception"] == 0  # exact by default
    result = compute_score(
        "d", response("0-1 2-7", "7"), seen, perception_grammar="edges", perception_score="f1"
    )
    assert result["perception"] == pytest.approx(0.8)


RIGHT = response(TRUTH["perception"], TRUTH["answer"])
THOUGHTS = {  # before a right response, or none -> what it is paid
    "<think>" + RIGHT + "</think>no idea": 0,
    "<think>" + RIGHT: 0,
    " \n<think>" + RIGHT: 0,
    "<think><perception>perhaps</perception></think> " + RIGHT: 1,
    "<answer>7</answer> </think>" + RIGHT: 1,  # the prompt opened the block
    "<think>a</think> " + RIGHT + " </think>": 1,
}


@pytest.mark.parametrize("text", THOUGHTS)
def test_thoughts_are_paid_for_nothing_and_spoil_nothing(text):
    """As in TRL's rewards, and as the rollout marks its tokens."""
    paid = THOUGHTS[text]
    found = grid(text)
    assert [*found.values()] == [paid] * 4
    columns = {"grammar": ["grid"], "answer_grammar": ["grid"]}
    assert rewards.outcome([text], [TRUTH["answer"]], **columns) == [paid]
    assert rewards.perception([text], [TRUTH["perception"]], **columns) == [paid]
    tokenizer = byte_tokenizer()
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    cut = segment_completions(tokenizer, [ids])
    assert cut.perception == [TRUTH["perception"] if paid else None]


@settings(max_examples=60, deadline=None)
@given(st.text() | st.lists(st.sampled_from(PIECES), max_size=12).map(" ".join))
def test_no_text_raises_and_keys_stay_the_same(text):
    for score in ("exact", "f1"):
        result = grid(text, perception_score=score)
        assert list(result) == ["score", "outcome", "perception", "format"]
        assert all(isinstance(value, float) and 0 <= value <= 1 for value in result.values())


@pytest.mark.parametrize(
    ("truth", "options", "message"),
    [
        (TRUTH, {"alpha": 1.5}, r"alpha must be in \[0, 1\], got 1.5"),
        (TRUTH, {"perception_grammar": "csv"}, "perception_grammar must be one of .*, got 'csv'"),
        (TRUTH, {"perception_score": "edit"}, "perception_score must be exact or f1, got 'edit'"),
        (TRUTH, {"longest": 0}, "longest must be positive, got 0"),
        ("42", {}, "ground_truth of data_source 'd' must hold the text 'perception'"),
        ({"perception": "r1c1=1", "answer": " "}, {}, "must hold the text 'answer'"),
        (
            {"perception": "r1c1=1", "answer": 4},
            {},
            "'answer'.* answer must be text, got the int 4",
        ),
        ({"perception": float("nan"), "answer": "4"}, {}, "'perception'.* it is missing"),
        ("[" * 10**5, {}, "must hold the text 'perception'"),
    ],
)
def test_unusable_options_and_truths_are_refused(truth, options, message):
    with pytest.raises(ValueError, match=message):
        compute_score("d", "", truth, **options)


def test_the_reward_imports_no_engine():
    code = "import sys, percbal.adapters.verl; print({'verl', 'ray', 'trl'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


# --- token rewards -----------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_read_inverts_write(alpha):
    """All corners of both rewards; lengths and borders that differ; the sum is the score."""
    rows = [
        (length, alpha * p + (1 - alpha) * a, a, end)
        for p in (0.0, 0.4, 1.0)
        for a in (0.0, 1.0)
        for length, end in ((6, 3), (8, 1), (8, 6), (5, NO_SPAN))
    ]
    rewards, mask = torch.zeros(len(rows), 8), torch.zeros(len(rows), 8, dtype=torch.long)
    for i, (length, mixed, outcome, end) in enumerate(rows):
        rewards[i, :length], mask[i, :length] = write(length, mixed, outcome, end), 1
    found = read(rewards, mask)
    assert found.mixed.tolist() == pytest.approx([row[1] for row in rows], abs=1e-6)
    assert found.outcome.tolist() == pytest.approx([row[2] for row in rows], abs=1e-6)
    for judged, (_, _, _, end) in zip(found.judged_by_mixed, rows, strict=True):
        assert int(judged.sum()) == (8 if end == NO_SPAN else end + 1)


@pytest.mark.parametrize("mixed", [0.0, 0.5])
def test_a_response_that_ends_with_its_perception_has_outcome_0(mixed):
    """In the baseline of its group's outcomes, too: R there would be a reward for no answer."""
    found = read(write(4, mixed, 0.0, 3)[None], torch.ones(1, 4, dtype=torch.long))
    assert found.mixed.item() == pytest.approx(mixed) and found.outcome.item() == 0
    assert found.judged_by_mixed.all()


@given(st.data())
def test_no_border_loses_a_reward(data):
    """Every length and border, the last token among them, in batches with padding."""
    unit = st.floats(0, 1, width=16)
    lengths = data.draw(st.lists(st.integers(2, 6), min_size=1, max_size=4))
    rows = [
        (n, data.draw(unit), data.draw(unit), data.draw(st.integers(0, n - 1))) for n in lengths
    ]
    rewards, mask = torch.zeros(len(rows), 6), torch.zeros(len(rows), 6, dtype=torch.long)
    for i, (length, mixed, outcome, end) in enumerate(rows):
        rewards[i, :length], mask[i, :length] = write(length, mixed, outcome, end), 1
    found = read(rewards, mask)
    assert found.mixed.tolist() == pytest.approx([row[1] for row in rows], abs=1e-6)
    assert found.outcome.tolist() == pytest.approx([row[2] for row in rows], abs=1e-6)


@pytest.mark.parametrize(
    "row",
    [[0, 0.5, 0, 1.0], [0.1, 0.1, 0.1, 0.1], [0, 0.5, 0, 0]],
    ids=["unmarked", "with a KL penalty", "not at the end"],
)
def test_other_token_rewards_are_refused(row):
    with pytest.raises(ValueError, match="response 1 were not written by percbal's agent loop"):
        read(torch.stack([write(4, 0.5, 1.0, 2), torch.tensor(row)]), torch.ones(2, 4).long())


def test_rewards_outside_the_unit_interval_are_refused():
    with pytest.raises(ValueError, match=r"must be in \[0, 1\], got score 1.5"):
        write(4, 1.5, 1.0, 2)
    with pytest.raises(ValueError, match="the perception ends at token 4 of 4"):
        write(4, 0.5, 1.0, 4)
