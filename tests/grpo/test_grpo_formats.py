"""Facts about GRPO in other response formats: what is asked, cut, rewarded and said."""

from __future__ import annotations

import copy
import logging

import pytest
import rl_fixtures as rl

from percbal import rewards
from percbal.grpo.readable import ReadableFromTheStart, Unreadable
from percbal.segments.tagged import PERCEPTION


def made(policy, out, rewards=None, **options):
    return rl.trainer((copy.deepcopy(policy[0]), policy[1]), out, rewards, **options)


def test_completions_are_cut_by_the_format_and_rewarded_in_the_default_tags(policy, tmp_path):
    seen = []

    def outcome(completions, tagged_completions, **_):
        texts = [[c[0]["content"] for c in kind] for kind in (completions, tagged_completions)]
        seen.append(texts)
        return [0.0] * len(completions)

    trainer = made(policy, tmp_path, [outcome, rl.perception], response_format="separator:no")
    ids = policy[1].tokenizer(["yes no red", "yes yes"])["input_ids"]
    trainer._thinking = [False, False]
    completions = [[{"role": "assistant", "content": t}] for t in ("yes no red", "yes yes")]
    rows = [{"prompt": "look", "answer": "red"}] * 2
    trainer._calculate_rewards(rows, [rows[0]["prompt"]] * 2, completions, ids)
    ((written, tagged),) = seen
    assert written == ["yes no red", "yes yes"]
    assert tagged[0].startswith("<perception>yes") and tagged[1] == ""
    first, second = trainer._segmented.segments
    assert (first == PERCEPTION).tolist() == [True, True, False]
    assert not (second == PERCEPTION).any()


def test_a_policy_that_thinks_is_read_behind_its_thoughts(policy, tmp_path):
    trainer = made(policy, tmp_path)
    text = "<perception> red </perception>"
    trainer._thinking = [True, False]
    rows = [{"prompt": "look", "answer": "red"}] * 2
    ids = policy[1].tokenizer([text, text])["input_ids"]
    completions = [[{"role": "assistant", "content": text}]] * 2
    trainer._calculate_rewards(rows, ["look"] * 2, completions, ids)
    assert trainer._segmented.failed.tolist() == [True, False]


def test_the_prompt_states_the_format_and_keeps_its_images_in_place(policy, tmp_path):
    examples = tmp_path / "examples.jsonl"
    examples.write_text('{"prompt": "look", "response": "yes"}\n')
    trainer = made(
        policy, tmp_path, response_format="json", state_format=True, format_examples=str(examples)
    )
    row = rl.prompts()[0]
    asked = trainer._asked(row, True)["prompt"]
    assert [m["role"] for m in asked] == ["user", "assistant", "user"]
    image, text = asked[-1]["content"]
    assert image == {"type": "image"} and text["text"].startswith("look\n\n")
    assert trainer.asking.response_format.instruction() in text["text"]
    trainer._generate_and_score_completions([row] * 4)
    assert {len(prompt) for prompt in trainer._prompts} == {3}


def test_options_of_the_template_come_from_the_row_before_the_config(policy, tmp_path):
    rows = [dict(row) for row in rl.prompts(4)]
    rows[0]["chat_template_kwargs"], rows[1]["chat_template_kwargs"] = {"shout": True}, None
    processor = copy.deepcopy(policy[1])
    processor.chat_template = processor.chat_template + "{% if shout %}yes{% endif %}"
    trainer = rl.trainer(
        (copy.deepcopy(policy[0]), processor), tmp_path, chat_template_kwargs={"shout": False}
    )
    batch = trainer._generate_and_score_completions([rows[0]] * 4 + [rows[1]] * 4)
    lengths = batch["prompt_mask"].sum(1).tolist()
    assert lengths[0] == lengths[4] + 1


def test_it_is_said_once_that_nothing_can_be_read(caplog):
    watch = ReadableFromTheStart()
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            watch.look(1.0, {"perception missing": 8})
    assert len(caplog.messages) == 1
    assert "perception missing 24" in caplog.messages[0] and "state_format" in caplog.messages[0]
    caplog.clear()
    readable = ReadableFromTheStart()
    for share in (1.0, 0.9, 1.0, 1.0, 1.0):
        readable.look(share, {})
    assert not caplog.messages


def test_the_config_names_the_format_that_it_cannot_make(tmp_path):
    with pytest.raises(ValueError, match="unknown response format 'yaml'"):
        rl.BalancedGRPOConfig(str(tmp_path), **(rl.OPTIONS | {"response_format": "yaml"}))


def test_wandb_is_given_prompts_as_texts(policy, tmp_path, monkeypatch):
    """Its tables take no messages in parts, which TRL gives them."""
    trainer = made(policy, tmp_path, log_completions=True)
    trainer.args.report_to = ["wandb"]
    parts = [{"type": "image"}, {"type": "text", "text": "How many?"}]
    trainer._logs["prompt"].extend([[{"role": "user", "content": parts}], "plain"])
    seen = []
    monkeypatch.setattr("trl.GRPOTrainer.log", lambda self, *_: seen.extend(self._logs["prompt"]))
    trainer.log({})
    assert seen == [[{"role": "user", "content": "<image>How many?"}], "plain"]


def test_functions_of_percbal_read_the_default_tags_and_others_the_text(policy, tmp_path):
    """So a reward of one's own that reads its own marks stays as it is."""

    def outcome(completions, **_):
        return [0.0] * len(completions)

    options = {"response_format": "separator:no", "measured": ["format"]}
    trainer = made(policy, tmp_path, [outcome, rl.perception, rewards.format], **options)
    assert [guarded.reads_tags for guarded in trainer.reward_funcs] == [False, False, True]
    inputs = {"completions": ["yes no red"], "tagged_completions": ["<perception>yes</perception>"]}
    assert (
        trainer.reward_funcs[2]._as_it_reads(inputs)["completions"] == inputs["tagged_completions"]
    )
    assert trainer.reward_funcs[0]._as_it_reads(inputs)["completions"] == ["yes no red"]


def test_shares_of_unreadable_rollouts_are_of_all_batches_and_ranks():
    counted = Unreadable()
    counted.add([{"answer missing": 2}, {}], 4)
    counted.add([{}, {}], 4)
    assert counted.last == {}
    assert counted.drain() == {"unreadable/answer_missing": 0.25}
    assert counted.drain() == {}


def test_masked_rollouts_are_not_the_ones_compared_alone(policy, tmp_path):
    """TRL takes the truncated ones out of the attention mask; here all are."""
    trainer = made(policy, tmp_path, mask_truncated_completions=True, max_completion_length=2)
    trainer.train()
    assert trainer.state.global_step == 3
