"""Facts about the diagnosis: what a, a_p and a_r measure, and what batching must not change."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import vlm_fixtures as vlm
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import stats

from percbal.data.reading import read_dataset
from percbal.evaluate.diagnose import diagnose
from percbal.evaluate.generation import complete
from percbal.evaluate.intervals import (
    detectable,
    paired_difference,
    t_interval,
    t_power,
    wilson_interval,
)
from percbal.evaluate.questions import task_question, task_questions
from percbal.models.loading import load_vlm
from percbal.models.tiny import build_tiny_vlm, pixel_statistics
from percbal.responses.asking import Asking
from percbal.tasks.base import Instance, Score, find_spans, tagged

NUMBERS = [f"n{i}" for i in range(4)]
TAGS = "<perception> </perception> <reasoning> </reasoning> <answer> </answer>".split()


class Brightness:
    """See which of four greys the image is; the answer is the next one."""

    name = "brightness"

    def generate(self, index: int, split: str, seed: int) -> Instance:
        level = int(np.random.default_rng([index, seed, split == "test"]).integers(4))
        return Instance(
            task=self.name,
            index=index,
            image=Image.new("RGB", (32, 32), (20 + 70 * level,) * 3),
            query="look",
            perception=NUMBERS[level],
            reasoning=" ".join(["so"] * (1 + index % 3)),  # responses of unequal length
            answer=NUMBERS[(level + 1) % 4],
            truth={"level": level},
        )

    def score(self, completion: str, truth: dict) -> Score:
        spans = find_spans(completion)
        level = truth["level"]
        seen = None if spans.perception is None else spans.perception.split() == [NUMBERS[level]]
        answer = NUMBERS[(level + 1) % 4]
        right = None if spans.answer is None else spans.answer.split() == [answer]
        return Score(
            right, seen, float(seen is True), None, spans.complete, "".join(spans.problems)
        )

    def oracle_prefix(self, instance: Instance) -> str:
        return tagged("perception", instance.perception)

    def vocabulary(self) -> list[str]:
        return [*TAGS, "look", "so", *NUMBERS]


@dataclass
class Blind(Brightness):
    """The same with images that say nothing: every one is equally grey."""

    def generate(self, index: int, split: str, seed: int) -> Instance:
        seeing = super().generate(index, split, seed)
        return Instance(**(seeing.__dict__ | {"image": Image.new("RGB", (32, 32), (90, 90, 90))}))


def trained(task: Brightness, path) -> tuple:
    instances = [task.generate(i, "train", 0) for i in range(64)]
    stats_ = pixel_statistics(
        [instance.image for instance in instances[:-1]] + [Image.new("L", (8, 8))]
    )
    sizes = {"image_size": 32, "hidden": 32, "layers": 1, "mlp": 64}
    directory = build_tiny_vlm(path / "model", task.vocabulary(), pixel_stats=stats_, **sizes)
    model, processor = load_vlm(directory)
    examples = [
        {
            "image": instance.image,
            "prompt": [{"role": "user", "content": instance.query}],
            "completion": [{"role": "assistant", "content": instance.response}],
        }
        for instance in instances
    ]
    args = vlm.config(
        path / "out", optim="adamw_torch", learning_rate=5e-3, max_steps=120, logging_steps=120
    )
    vlm.train(model, processor, vlm.encoded(processor, examples), args)
    return model, processor


@pytest.fixture(scope="module")
def seeing(tmp_path_factory):
    return trained(Brightness(), tmp_path_factory.mktemp("seeing"))


@pytest.fixture(scope="module")
def blind(tmp_path_factory):
    return trained(Blind(), tmp_path_factory.mktemp("blind"))


def test_a_model_that_sees_and_reasons_is_right_in_all_three(seeing):
    result = diagnose(*seeing, Brightness(), n=20, progress=False)
    assert (result.a.value, result.a_p.value, result.a_r.value) == (1.0, 1.0, 1.0)
    assert result.parse_failures == 0
    assert result.perception_f1 == 1.0


def test_a_blind_model_that_reasons_has_a_r_alone(blind):
    """The pattern that the whole diagnosis is there to tell apart."""
    result = diagnose(*blind, Blind(), n=40, progress=False)
    assert result.a_r.value == 1.0
    assert result.a_p.value < 0.6
    assert result.a.value == result.a_p.value  # it reasons rightly from what it guessed


def test_an_untrained_model_is_unreadable_and_wrong(tmp_path):
    task = Brightness()
    model, processor = load_vlm(
        build_tiny_vlm(tmp_path, task.vocabulary(), image_size=32, hidden=16, layers=1)
    )
    result = diagnose(model, processor, task, n=6, progress=False)
    assert result.parse_failures == 6
    assert result.a.value == result.a_p.value == 0.0
    assert all(record.reason for record in result.records)


def test_neither_batch_size_nor_padding_changes_a_completion(seeing):
    """Rows of unequal length, padded on the left, against one row at a time."""
    model, processor = seeing
    model.eval()
    task = Brightness()
    questions = task_questions(task, 6, "test", 1, Asking())
    prefixes = [question.beginning if question.index % 2 else "" for question in questions]
    together = complete(model, processor, questions, prefixes)
    alone = [
        complete(model, processor, [question], [prefix])[0]
        for question, prefix in zip(questions, prefixes, strict=True)
    ]
    assert together == alone


def test_completions_equal_greedy_decoding_written_out(seeing):
    model, processor = seeing
    model.eval()
    task = Brightness()
    instance = task.generate(3, "test", 0)
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "look"}]}]
    prompt = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    prefix = task.oracle_prefix(instance)
    inputs = processor(
        images=[instance.image],
        text=[prompt + prefix],
        return_tensors="pt",
        add_special_tokens=False,
    )
    ids = inputs.pop("input_ids")
    inputs.pop("attention_mask")
    start = ids.shape[1] - len(prefix.split())
    while ids[0, -1] != processor.tokenizer.eos_token_id:
        with torch.no_grad():
            logits = model(input_ids=ids, **inputs).logits
        ids = torch.cat((ids, logits[:, -1:].argmax(-1)), dim=1)
    expected = processor.tokenizer.decode(ids[0, start:], skip_special_tokens=True)
    question = task_question(task, instance, Asking())
    assert complete(model, processor, [question], [prefix]) == [(expected, False)]


def test_records_are_in_order_and_survive_json(seeing):
    result = diagnose(*seeing, Brightness(), n=7, batch_size=3, seed=2, progress=False)
    assert [record.index for record in result.records] == list(range(7))
    read = json.loads(json.dumps(result.to_dict()))
    assert read["accuracies"]["a"] == {**result.a._asdict(), "n": 7}
    assert read["records"][0]["truth"] == result.records[0].truth
    task = Brightness()
    for record in result.records:
        assert record.truth == task.generate(record.index, "test", 2).truth


def test_accuracies_are_means_over_the_records(blind):
    result = diagnose(*blind, Blind(), n=15, progress=False)
    for name in ("a", "a_p", "a_r"):
        hits = [getattr(record, name) for record in result.records]
        assert getattr(result, name) == wilson_interval(sum(hits), 15)


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_in_its_mode(seeing, training):
    seeing[0].train(training)
    diagnose(*seeing, Brightness(), n=1, progress=False)
    assert seeing[0].training is training


def test_progress_is_shown_on_request(seeing, capsys):
    diagnose(*seeing, Brightness(), n=2, progress=True)
    assert "4/4" in capsys.readouterr().err


def test_no_instances_is_an_error(seeing):
    with pytest.raises(ValueError, match="n and batch_size must be at least 1, got 0 and 128"):
        diagnose(*seeing, Brightness(), n=0)


# --- intervals ---------------------------------------------------------------------------------


@given(st.integers(1, 500), st.data())
def test_wilson_is_scipys(n, data):
    k = data.draw(st.integers(0, n))
    expected = stats.binomtest(k, n).proportion_ci(method="wilson")
    value, low, high = wilson_interval(k, n)
    assert value == k / n
    assert low == pytest.approx(expected.low, abs=1e-6)
    assert high == pytest.approx(expected.high, abs=1e-6)


@pytest.mark.parametrize(("k", "n"), [(1, 0), (-1, 3), (4, 3)])
def test_impossible_counts_are_refused(k, n):
    with pytest.raises(ValueError, match="need 0 <= successes <= n"):
        wilson_interval(k, n)


def test_paired_interval_is_the_normal_one_for_many_instances():
    rng = np.random.default_rng(0)
    ours, base = rng.random(2000) < 0.7, rng.random(2000) < 0.6
    value, low, high = paired_difference(ours, base)
    difference = ours.astype(float) - base
    error = difference.std() / len(difference) ** 0.5
    assert value == pytest.approx(difference.mean())
    assert low == pytest.approx(value - 1.96 * error, abs=0.1 * error)
    assert high == pytest.approx(value + 1.96 * error, abs=0.1 * error)


def test_pairing_cancels_what_both_models_find_hard():
    rng = np.random.default_rng(0)
    base = rng.random(400) < 0.5
    ours = base | (rng.random(400) < 0.1)
    paired = paired_difference(ours, base)
    assert paired.high - paired.low < 0.06
    assert paired.low > 0.0


def test_runs_that_disagree_widen_the_interval():
    rng = np.random.default_rng(0)
    base = rng.random((4, 300)) < 0.5
    steady = paired_difference(base | (rng.random((4, 300)) < 0.2), base)
    gains = np.array([0.0, 0.0, 0.4, 0.4])[:, None]
    erratic = paired_difference(base | (rng.random((4, 300)) < gains), base)
    assert erratic.value == pytest.approx(steady.value, abs=0.03)
    assert erratic.high - erratic.low > 2 * (steady.high - steady.low)


def test_unpaired_arrays_are_refused():
    with pytest.raises(ValueError, match=r"one shape .* got \(3,\) and \(2,\)"):
        paired_difference([1, 0, 1], [1, 0])


def test_t_interval_of_three_runs_by_hand():
    """With two degrees of freedom the quantile is closed: .95 sqrt(2 / (4 * .975 * .025))."""
    half = 0.95 * (2 / (4 * 0.975 * 0.025)) ** 0.5 * 1.0 / 3**0.5  # standard deviation 1
    assert t_interval([1.0, 2.0, 3.0]) == pytest.approx((2.0, 2.0 - half, 2.0 + half))


def test_t_interval_of_two_runs_by_hand():
    """With one degree of freedom, Cauchy's, it is tan(.475 pi): 12.7 times half the difference."""
    value, low, high = t_interval([0.033, 0.244])
    assert value == pytest.approx(0.1385)
    assert high - value == value - low == pytest.approx(math.tan(0.475 * math.pi) * 0.211 / 2)


@pytest.mark.parametrize("values", [[1.0], [], [[1.0, 2.0]], 1.0])
def test_t_interval_needs_two_runs(values):
    with pytest.raises(ValueError, match="a t interval needs two runs or more"):
        t_interval(values)


def test_power_is_how_often_the_t_interval_lies_above_zero():
    runs = np.random.default_rng(0).normal(3.0, 1.0, (4000, 3))
    found = np.mean([t_interval(three).low > 0 for three in runs])
    assert t_power(3.0, 1.0, 3) == pytest.approx(found, abs=0.02)
    assert t_power(0.0, 1.0, 3) == pytest.approx(0.025)
    assert t_power(detectable(1.3, 4), 1.3, 4) == pytest.approx(0.8)


def test_the_checkpoints_generation_config_changes_no_answer(tmp_path):
    """Penalties, beams and bans of a checkpoint are not the model's own distribution."""
    model, processor = trained(Brightness(), tmp_path)
    questions = task_questions(Brightness(), 8, "test", 0, Asking())
    wanted = complete(model, processor, questions, [""] * 8)
    unwanted = {
        "repetition_penalty": 5.0,
        "no_repeat_ngram_size": 2,
        "num_beams": 3,
        "min_new_tokens": 20,
        "suppress_tokens": [int(i) for i in processor.tokenizer.convert_tokens_to_ids(NUMBERS)],
        "max_length": 3,
    }
    for name, value in unwanted.items():
        setattr(model.generation_config, name, value)
    assert complete(model, processor, questions, [""] * 8) == wanted
    assert model.generation_config.num_beams == 3


def never_stops(directory) -> tuple:
    model, processor = load_vlm(vlm.tiny_llava(directory))
    with torch.no_grad():
        head = model.get_output_embeddings().weight
        head[processor.tokenizer.eos_token_id] = -head.sum(0)  # hardly ever likely
    return model, processor


def test_a_budget_is_the_instances_own(tmp_path):
    """What a model that never stops may say does not depend on its neighbours in a batch."""
    model, processor = never_stops(tmp_path / "model")
    long, short = (
        Instance("t", 0, Image.new("RGB", (32, 32)), "look", "w1", " ".join(["w2"] * n), "w3", {})
        for n in (30, 1)
    )
    long, short = (task_question(Brightness(), each, Asking()) for each in (long, short))
    together = complete(model, processor, [long, short], ["", ""])
    assert together[1] == complete(model, processor, [short], [""])[0]


def test_a_data_set_of_the_same_instances_has_the_same_diagnosis(blind):
    """Rows with labels alone: a model is asked the same, and compared with the same."""
    task = Blind()
    rows = [
        {
            "prompt": [{"role": "user", "content": instance.query}],
            "completion": [{"role": "assistant", "content": instance.response}],
            "image": instance.image,
            "perception": instance.perception,
            "answer": instance.answer,
        }
        for instance in (task.generate(i, "test", 0) for i in range(12))
    ]
    data = read_dataset(Dataset.from_list(rows), completions=None)
    ours = diagnose(*blind, data, n=64, progress=False)
    theirs = diagnose(*blind, task, n=12, progress=False)
    assert ours.n == 12 and 0 < ours.a.value < ours.a_r.value == 1.0
    for name in ("a", "a_p", "a_r", "perception_f1", "parse_failures", "refusals", "cut"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert [r.completion for r in ours.records] == [r.completion for r in theirs.records]
    assert [r.reasoned for r in ours.records] == [r.reasoned for r in theirs.records]


# --- completions that the limit of tokens cuts -------------------------------------------------


def test_responses_that_end_by_themselves_are_not_cut(seeing):
    result = diagnose(*seeing, Brightness(), n=4, progress=False)
    assert result.cut == {"a": 0, "a_p": 0, "a_r": 0} and "cut" not in result.summary()


def test_a_response_that_ends_with_the_last_token_of_its_budget_is_not_cut(seeing):
    """The end of a turn is a token, too."""
    tokenizer = seeing[1].tokenizer
    (question,) = task_questions(Brightness(), 1, "test", 0, Asking())
    said = complete(*seeing, [question], [""])[0].text
    length = len(tokenizer(said, add_special_tokens=False)["input_ids"]) + 1
    cuts = [complete(*seeing, [question], [""], most=n)[0].cut for n in (length, length - 1)]
    assert cuts == [False, True]


def test_cut_responses_are_counted_for_each_accuracy(seeing):
    """Nine tokens are too few for a response, and enough behind a perception that is given."""
    result = diagnose(*seeing, Brightness(), n=3, progress=False, max_new_tokens=9)
    assert result.cut == {"a": 3, "a_p": 3, "a_r": 0}
    line = "cut at the limit of tokens: a 3 of 3, a_p 3 of 3, a_r 0 of 3; --max-new-tokens"
    assert line in result.summary()
    assert json.loads(json.dumps(result.to_dict()))["cut"] == result.cut
