"""Facts about what a diagnosis counts, by hand-made answers: no model is asked here."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from answerers import ALL, SUDOKU, Oracle, by, diagnosed, questions, response
from scipy import stats

from percbal.evaluate.accuracies import pass_at
from percbal.evaluate.diagnose import measure
from percbal.evaluate.generation import Completion
from percbal.evaluate.intervals import mean_interval, paired_difference, wilson_interval
from percbal.evaluate.questions import asked_in_text, usable_difficulty
from percbal.evaluate.result_text import result_text
from percbal.responses.asking import Asking

TRUE = {q.index: q for q in questions(12)}


def answer_of(question):
    cells = [str(digit) for row in question.truth["solution"] for digit in row]
    return " ".join(f"r{i // 4 + 1}c{i % 4 + 1}={digit}" for i, digit in enumerate(cells))


def wrong_answer(question):
    return answer_of(TRUE[(question.index + 1) % 12])


def one_cell_off(question):
    """The perception with another word in the place of its first digit."""
    cells = [digit for row in question.truth["clues"] for digit in row]
    at = next(i for i, digit in enumerate(cells) if digit)
    name = f"r{at // 4 + 1}c{at % 4 + 1}="
    return question.perception.replace(f"{name}{cells[at]}", f"{name}{cells[at] % 4 + 1}")


def values(result):
    return {name: accuracy.value for name, accuracy in result.accuracies.items()}


def test_the_sketch_of_this_file_is_the_tasks_own_text():
    question = TRUE[0]
    score = SUDOKU.score(response(question.perception, answer_of(question)), question.truth)
    assert score.answer and score.perception and score.reasoning
    score = SUDOKU.score(response(one_cell_off(question), wrong_answer(question)), question.truth)
    assert (score.answer, score.perception, score.perception_f1) == (False, False, 15 / 16)


def test_an_oracle_is_right_in_everything():
    result = diagnosed(Oracle())
    assert set(values(result).values()) == {1.0} and len(values(result)) == 6
    assert result.errors["right"] == result.n == 6 and result.right_in_spite == 0
    assert result.accuracies["a"].interval == wilson_interval(6, 6)


def test_who_is_blind_reasons_from_what_it_guessed():
    """It always sees the seventh puzzle and solves that one; told the truth, it solves that."""
    seen = TRUE[7].response
    result = diagnosed(by(lambda q, way: seen if way == "image" else q.response))
    found = values(result)
    assert (found["a"], found["a_p"]) == (0.0, 0.0)
    assert (found["a_r"], found["a_r_text"], found["reasoning"]) == (1.0, 1.0, 1.0)
    assert 0 < found["perception_f1"] < 1
    assert result.errors["perception"] == 6


def rooms(result):
    return {name: accuracy.value for name, accuracy in result.headroom.items()}


def test_headroom_is_what_a_lacks_for_errors_of_one_segment():
    """Blind, perfect, and right in spite of what it says it saw."""
    seen = TRUE[7].response
    blind = diagnosed(by(lambda q, way: seen if way == "image" else q.response))
    assert rooms(blind) == {"perception": 1.0, "reasoning": 0.0}
    assert rooms(diagnosed(Oracle())) == {"perception": 0.0, "reasoning": 0.0}
    guessed = diagnosed(by(lambda q, way: response(one_cell_off(q), answer_of(q))))
    assert rooms(guessed) == {"perception": 0.0, "reasoning": -1.0}
    seen_only = by(lambda q, way: response(q.perception, wrong_answer(q)))
    assert rooms(diagnosed(seen_only)) == {"perception": 0.0, "reasoning": 1.0}


def test_headroom_pairs_what_each_instance_did():
    """Two of six are misread: a = a_p = 4/6, a_r = 1."""
    seen = TRUE[7].response
    result = diagnosed(by(lambda q, way: seen if way == "image" and q.index < 2 else q.response))
    room = result.headroom["perception"]
    assert room.value == pytest.approx(2 / 6) and room.n == 6
    told, image = [1.0] * 6, [0.0] * 2 + [1.0] * 4
    assert tuple(room)[:3] == paired_difference(told, image)
    assert result.to_dict()["headroom"]["perception"]["value"] == room.value
    assert re.search(r"\nperception +0\.333 +\[.*\] +a_r - a: ", result_text(result))
    sampled = by(lambda q, way: seen if way == "image" and q.sample else q.response)
    assert rooms(diagnosed(sampled, samples=2)) == {"perception": 0.5, "reasoning": 0.0}
    without = diagnosed(Oracle(), ways=("image",))
    assert rooms(without) == {"reasoning": 0.0}


def test_one_wrong_cell_is_no_right_perception_and_all_but_a_part_of_it():
    result = diagnosed(by(lambda q, way: response(one_cell_off(q), answer_of(q))))
    found = values(result)
    assert (found["a"], found["a_p"], found["perception_f1"]) == (1.0, 0.0, 15 / 16)
    assert found["reasoning"] == 0.0  # the answer contradicts the digit that it says it saw
    assert result.errors["right"] == result.right_in_spite == 6
    rows = result.records[0].marked["perceived"]
    assert sum(not right for row in rows for _, right in row) == 1


def test_every_error_has_its_rule():
    cases = {  # index -> from the image, after the truth
        0: (TRUE[0].response, TRUE[0].response, "right"),
        1: (response(TRUE[1].perception, wrong_answer(TRUE[1])), None, "reasoning"),
        2: (response(one_cell_off(TRUE[2]), wrong_answer(TRUE[2])), True, "perception"),
        3: (response(one_cell_off(TRUE[3]), wrong_answer(TRUE[3])), False, "both"),
        4: ("I see no puzzle", True, "format"),
        5: (TRUE[7].response, False, "perception"),  # right for what it says it saw
    }

    def text(question, way):
        seen, told, _ = cases[question.index]
        if way == "image":
            return seen
        return question.response if told else question.beginning

    result = diagnosed(by(text))
    assert [record.error for record in result.records] == [case[2] for case in cases.values()]
    assert sum(result.errors.values()) == result.n
    judged = result.accuracies["reasoning"]
    assert (judged.value, judged.n) == (2 / 5, 5)  # the unreadable one says nothing of it


def test_a_malformed_part_of_a_wrong_response_is_an_error_of_format():
    result = diagnosed(by(lambda q, way: response("a b", wrong_answer(q))), ways=("image",))
    assert result.errors["format"] == 6


def test_reasoning_without_its_tags_is_no_error_of_format():
    """Nothing reads what stands between them."""

    def text(question, way):
        whole = response(question.perception, wrong_answer(question))
        return whole.replace("<reasoning>", "").replace("</reasoning>", "")

    result = diagnosed(by(text))
    assert result.errors["reasoning"] == result.parse_failures == 6


def test_what_nobody_can_tell_apart_is_unclear():
    """Labels alone judge, and nobody was told the truth."""

    class Labels:
        def score(self, completion, truth):
            return replace(SUDOKU.score(completion, truth), reasoning=None)

    asked = [replace(question, judge=Labels()) for question in questions()]
    wrong = by(lambda q, way: response(one_cell_off(q), wrong_answer(q)))
    result = diagnosed(wrong, questions=asked, ways=("image",))
    assert result.errors["unclear"] == 6 and result.accuracies["reasoning"].value is None
    assert result.records[0].marked == {}
    assert json.loads(json.dumps(result.to_dict()))["accuracies"]["reasoning"]["n"] == 0
    assert diagnosed(wrong, questions=asked).errors["both"] == 6


def test_a_way_that_was_not_asked_has_no_accuracy():
    result = diagnosed(Oracle(), ways=("image",))
    assert {*values(result)} == {"a", "a_p", "reasoning", "perception_f1"}
    assert result.records[0].a_r is None and result.cut == {"a": 0, "a_p": 0}
    assert "a_r" not in result.summary() and "a_r" not in result_text(result)
    for ways in (("told",), ("image", "ears")):
        with pytest.raises(ValueError, match="ways must be of image, told, text, with image"):
            diagnosed(Oracle(), ways=ways)


# --- the question as text ----------------------------------------------------------------------


def test_the_text_stands_where_the_picture_stood():
    question = TRUE[0]
    (message,) = asked_in_text(question).prompt()
    (part,) = message["content"]
    said = f"The image is not given. This is what it shows:\n{question.perception}\n\n"
    assert part == {"type": "text", "text": said + question.query}
    assert question.prompt()[0]["content"][0]["type"] == "image"  # untouched


def test_text_before_a_picture_and_further_pictures():
    def prompt():
        grey = {"type": "image", "image": None}
        first = {"role": "user", "content": [{"type": "text", "text": "Look:"}, grey, grey]}
        return [{"role": "system", "content": "Be brief."}, first]

    system, user = asked_in_text(replace(TRUE[0], prompt=prompt, perception="p*")).prompt()
    assert system["content"] == [{"type": "text", "text": "Be brief."}]
    said = "Look:\nThe image is not given. This is what it shows:\np*\n\n"
    assert user["content"] == [{"type": "text", "text": said}]


# --- difficulty --------------------------------------------------------------------------------


def with_difficulty(said):
    """Questions with these difficulties, of which those with an even index are solved."""
    asked = [replace(TRUE[i % 12], index=i, difficulty=d) for i, d in enumerate(said)]
    solver = by(lambda q, way: q.response if q.index % 2 == 0 else "no")
    return diagnosed(solver, questions=asked, ways=("image",)).difficulty


def test_accuracies_by_level_and_number():
    levels = ["hard", "easy", "easy", "hard", "hard"]
    said = [{"level": level, "blanks": 6 + i % 2} for i, level in enumerate(levels)]
    level, blanks = with_difficulty(said)
    assert [(v["label"], v["n"]) for v in level["values"]] == [("easy", 2), ("hard", 3)]
    value, low, high = wilson_interval(2, 3)
    hard = level["values"][1]["accuracies"]["a"]
    assert hard == {"value": value, "low": low, "high": high, "n": 3}
    assert [(v["from"], v["accuracies"]["a"]["value"]) for v in blanks["values"]] == [
        (6, 1),
        (7, 0),
    ]


def test_many_numbers_are_binned_by_quantiles_and_equal_ones_stay_together():
    numbers = [*range(10), *[9] * 10]
    (field,) = with_difficulty([{"edges": number} for number in numbers])
    bins = [(v["from"], v["to"]) for v in field["values"]]
    assert sum(v["n"] for v in field["values"]) == 20 and 2 <= len(bins) <= 5
    assert all(a[1] < b[0] for a, b in itertools.pairwise(bins))
    assert field["values"][0]["label"] == f"{bins[0][0]} to {bins[0][1]}"


def test_numbers_that_floats_cannot_tell_apart_are_one_value():
    """Such as times in nanoseconds; and labels have all their digits."""
    (field,) = with_difficulty([{"id": number} for number in (2**60, 2**60 + 1)])
    (value,) = field["values"]
    assert value["n"] == 2 and (value["from"], value["to"]) == (2**60, 2**60 + 1)
    (field,) = with_difficulty([{"id": 1_000_000 + i} for i in range(3)])
    assert [v["label"] for v in field["values"]] == ["1000000", "1000001", "1000002"]


def test_instances_without_a_field_and_names_that_are_no_levels():
    said = [{"name": f"n{i}"} | ({"size": 4} if i else {}) for i in range(21)]
    (size,) = with_difficulty(said)
    assert size["name"] == "size" and [v["n"] for v in size["values"]] == [20]


def test_a_sudoku_says_how_hard_it_is():
    assert TRUE[0].difficulty == {"blanks": TRUE[0].truth["blanks"], "guesses": 0}


def test_only_numbers_and_words_are_difficulties():
    said = {"a": 1, "b": 0.5, "c": "hard", "d": True, "e": float("nan"), "f": [1], "g": None}
    assert usable_difficulty(said) == {"a": 1, "b": 0.5, "c": "hard"}
    assert usable_difficulty(None) == usable_difficulty("hard") == {}


# --- samples -----------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 4, 6])
def test_pass_at_k_is_the_mean_over_all_subsets(n):
    for right, k in itertools.product(range(n + 1), range(1, n + 1)):
        chosen = list(itertools.combinations([i < right for i in range(n)], k))
        assert pass_at(k, right, n) == pytest.approx(sum(map(any, chosen)) / len(chosen))


def test_accuracies_over_samples():
    """Instance i is solved by the first i of its four samples."""
    solver = by(lambda q, way: q.response if q.sample < q.index else "no")
    result = diagnosed(solver, n=5, samples=4, ways=("image", "told"), batch_size=3)
    shares = [0, 0.25, 0.5, 0.75, 1]
    assert result.accuracies["a"].interval == mean_interval(shares)
    assert result.accuracies["a"].n == 5 and len(result.records[2].further) == 3
    assert [trial.a for trial in result.records[2].trials] == [True, True, False, False]
    by_k = {k: value.value for k, value in result.pass_at_k["a_r"].items()}
    assert by_k == pytest.approx({"1": 0.5, "2": (0 + 1 / 2 + 5 / 6 + 1 + 1) / 5, "4": 4 / 5})
    assert sum(result.errors.values()) == 20 and result.parse_failures == 10
    assert list(result.to_dict()["pass_at_k"]) == ["a", "a_p", "a_r"]
    assert "pass@4" in result_text(result)


def test_every_sample_is_asked_for_once():
    solver = Oracle()
    diagnosed(solver, n=3, samples=3, ways=("image",), batch_size=4)
    assert [len(batch) for batch in solver.asked] == [4, 4, 1]
    assert {*itertools.chain(*solver.asked)} == {*itertools.product(range(3), range(3))}


def test_the_interval_of_a_mean_is_the_normal_one_for_many_instances():
    each = np.random.default_rng(0).random(3000)
    value, low, high = mean_interval(each)
    error = stats.sem(each)
    assert value == pytest.approx(each.mean())
    assert (low, high) == pytest.approx((value - 1.96 * error, value + 1.96 * error), abs=error / 8)
    for nothing in ([], [[1.0]]):
        with pytest.raises(ValueError, match="need one value or more"):
            mean_interval(nothing)


# --- what is shown -----------------------------------------------------------------------------


def test_the_result_is_json_as_documented():
    about = {
        "source": {"task": "sudoku", "options": {}},
        "model": "m",
        "options": {"format": "tags"},
    }
    written = json.loads(json.dumps(diagnosed(Oracle(), n=2, about=about).to_dict()))
    assert (written["version"], written["model"], written["n"]) == (1, "m", 2)
    assert written["options"] == {"ways": list(ALL), "samples": 1, "format": "tags"}
    record = written["records"][0]
    assert record["perception"] == TRUE[0].perception and record["query"] == TRUE[0].query
    assert record["further"] == [] and record["marked"]["answer"][0][0][1] is True
    assert record["picture"] == "" and record["error"] == "right"


def test_tables_name_every_accuracy_and_error():
    shown = result_text(diagnosed(by(lambda q, way: q.response if q.index else "no"), n=4))
    for words in ("a_r_text", "perception_f1", "0.750", "[0.301, 0.954]", "format  1", "right   3"):
        assert words in shown


def test_refusals_are_counted_over_all_samples():
    def answers(batch, *, told):
        return [Completion("no", True) for _ in batch]

    options = {"split": "test", "seed": 0, "batch_size": 8, "progress": False, "samples": 2}
    result = measure(questions(3), answers, Asking(), **options)
    assert result.refusals["answer missing"] == 6 and result.cut["a_r"] == 6
    assert "a 6 of 6" in result.summary()
