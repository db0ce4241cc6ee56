"""What rewards from labels pay, those of a data set and those of a task's judge."""

from __future__ import annotations

import json

import pytest
from reward_fixtures import said, turns

from percbal import rewards
from percbal.tasks import get_task

# labelled


@pytest.mark.parametrize("form", [str, turns], ids=["text", "conversation"])
def test_labelled_rewards(form):
    completions = [form(said("0-1 1-2", "3")), form(said("2-1", "4")), form("3")]
    columns = {
        "perception": ["[[1, 0], [2, 1]]"] * 3,
        "answer": ["3"] * 3,
        "grammar": ["edges"] * 3,
        "answer_grammar": ["numbers"] * 3,
        "trainer_state": None,
    }
    assert rewards.outcome(completions, **columns) == [1, 0, 0]
    assert rewards.perception(completions, **columns) == [1, 0, 0]
    assert rewards.perception_f1(completions, **columns) == pytest.approx([1, 2 / 3, 0])
    assert rewards.format(completions, **columns) == [1, 1, 0]


def test_a_row_without_a_label_is_not_scored():
    completions = [said("a", "b"), said("a", "b")]
    assert rewards.outcome(completions, answer=[None, "b"]) == [None, 1]
    assert rewards.perception(completions, perception=["a", None]) == [1, None]
    assert rewards.perception_f1(completions, perception=[None, "a c"])[0] is None
    blind = {"blind_answers": [[said(answer="b")]] * 2}
    assert rewards.blind_reanswer(completions, answer=[None, "b"], **blind) == [None, 1]


def test_rows_may_have_different_grammars():
    completions = [said("0-1", ""), said("[[1, 2]]", ""), said("x y", "")]
    truth = ["1-0", "r1c1=1 r1c2=2", "y x"]
    scores = rewards.perception(completions, perception=truth, grammar=["edges", "grid", None])
    assert scores == [1, 1, 0]


def test_a_label_outside_its_grammar_is_the_data_sets_mistake():
    with pytest.raises(ValueError, match="not in the grammar edges"):
        rewards.perception([said("0-1")], perception=["???"], grammar=["edges"])


@pytest.mark.parametrize(
    "around", ["Sure: {}", "{} Done.", "{} <answer> 2 </answer>", "<reasoning> {}"]
)
def test_format_is_for_the_three_spans_alone(around):
    good = said("a", "b")
    assert rewards.format([f"\n {good} \n", around.format(good), said("a", "b", None)]) == [1, 0, 0]


# by task


def column(rows, name):
    return [row[name] for row in rows]


def test_an_export_has_the_columns_that_the_rewards_read(exported):
    columns = {name: column(exported, name) for name in ("perception", "answer", "truth", "prompt")}
    right = [row["messages"][1]["content"] for row in exported]
    completions = [[{"role": "assistant", "content": parts}] for parts in right]
    for reward in (rewards.outcome, rewards.perception, rewards.perception_f1, rewards.format):
        assert reward(completions, **columns) == [1] * 4
    for reward in rewards.from_task(get_task("sudoku"))[:4]:
        assert reward(completions, **columns) == [1] * 4


def test_rewards_of_a_task_are_its_judgement(exported):
    task = get_task("sudoku")
    truths = column(exported, "truth")
    own = exported[0]["messages"][1]["content"][0]["text"]  # right for the first alone
    by_task = rewards.from_task(task)
    judged = [task.score(own, truth) for truth in truths]
    fields = ("answer", "perception", "perception_f1", "reasoning")
    for reward, field in zip(by_task, fields, strict=False):
        assert reward([own] * 4, truth=truths) == [float(getattr(v, field)) for v in judged]
        as_json = [json.dumps(truth) for truth in truths]
        assert reward([own] * 4, truth=as_json) == reward([own] * 4, truth=truths)
        assert reward(["", own], truth=[truths[0], None]) == [0, None]
    assert [f.__name__ for f in by_task] == list(by_task._fields)


def test_any_judge_will_do():
    class Verdict:
        answer, perception, perception_f1, reasoning = None, False, 0.25, True

    class Judge:
        def score(self, completion, truth):
            return Verdict()

    by_task = rewards.from_task(Judge())
    values = [f([said("a", "b")], truth=[{}]) for f in by_task[:4]]
    assert values == [[0], [0], [0.25], [1]]
