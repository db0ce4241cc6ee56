"""Facts about responses that were told the true perception: which go on, which begin anew."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from chat_server import chat_server, solver

from percbal.evaluate.chat_requests import begins_anew, joined
from percbal.evaluate.diagnose import measure
from percbal.evaluate.endpoint_answers import EndpointAnswers
from percbal.evaluate.endpoint_client import Endpoint, EndpointError
from percbal.evaluate.questions import task_questions
from percbal.evaluate.saved_answers import read_answers
from percbal.responses.asking import Asking
from percbal.responses.formats import make_format
from percbal.tasks import get_task
from percbal.tasks.sudoku_text import parse_grid

TASK = get_task("sudoku", size=4)
INSTANCES = [TASK.generate(i, "test", 0) for i in range(4)]
REGEX = "regex:Seen:(?P<perception>.*)Why:(?P<reasoning>.*)So:(?P<answer>.*)"
FORMATS = ["tags", "json", "fence", "fence:text", "paper", "separator:\\n---\\n", REGEX]


def as_list(text):
    return json.dumps(parse_grid(text, 4))


def asked(name):
    """The questions, where the format's perception is a list in lists."""
    questions = task_questions(TASK, 4, "test", 0, Asking(make_format(name)))
    if name != "paper":
        return questions
    return [
        replace(q, beginning=as_list(i.perception), response=paper(i, i.perception), target=None)
        for q, i in zip(questions, INSTANCES, strict=True)
    ]


def paper(instance, perception):
    return f"{as_list(perception)}\n\nRow 1 lacks [1, 2].\n\n{as_list(instance.answer)}"


def wrong(instance):
    """A perception that is another instance's."""
    other = INSTANCES[(INSTANCES.index(instance) + 1) % len(INSTANCES)]
    return other.perception


def anew(name, instance):
    if name == "paper":
        return paper(instance, wrong(instance))
    return make_format(name).write(wrong(instance), instance.reasoning, instance.answer)


def rests(name, question, instance):
    """Right continuations: the format's own, and others that read right behind the beginning."""
    rest = question.response.removeprefix(question.beginning)
    answer = as_list(instance.answer)
    more = {
        "paper": [
            f"\n\nso\n\n{answer}",
            f"\n\n{answer}",
            f"{answer}\n\nThis is the whole grid.",
            f"\n\nso\n\nFinal answer: {answer}",
        ],
        "fence": [
            f"\n\nso\n\nFinal answer:\n```\n{instance.answer}\n```",
            f"\n\nso\n\n```\n{instance.answer}\n```\nFinal answer: {instance.answer}",
        ],
    }
    return [rest, *more.get(name, [])]


@pytest.mark.parametrize("name", FORMATS)
def test_a_right_continuation_gets_its_beginning(name):
    chosen = make_format(name)
    for question, instance in zip(asked(name), INSTANCES, strict=True):
        for rest in rests(name, question, instance):
            for thoughts in ("", "<think>[[1, 2]] <perception></think>"):
                assert not begins_anew(question.beginning, thoughts + rest, chosen)
                whole = joined(question.beginning, thoughts + rest, chosen)
                assert whole == thoughts + question.beginning + rest
                assert TASK.score(chosen.tagged(whole), instance.truth).answer, rest


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("thoughts", ["", "<think>so</think> "])
def test_a_whole_response_stays_as_it_is(name, thoughts):
    """One with the true perception, and one with its own."""
    chosen = make_format(name)
    for question, instance in zip(asked(name), INSTANCES, strict=True):
        assert not begins_anew(question.beginning, thoughts + question.response, chosen)
        assert begins_anew(question.beginning, thoughts + anew(name, instance), chosen)
        for response in (question.response, anew(name, instance)):
            assert joined(question.beginning, thoughts + response, chosen) == thoughts + response
            assert TASK.score(chosen.tagged(response), instance.truth).answer


@pytest.mark.parametrize("name", ["tags", "json", "fence"])
def test_words_before_a_perception_of_its_own(name):
    """They are no reasoning: reasoning stands behind it."""
    chosen = make_format(name)
    text = f"Sure, here it is:\n{anew(name, INSTANCES[0])}"
    assert begins_anew(asked(name)[0].beginning, text, chosen)
    assert joined(asked(name)[0].beginning, text, chosen) == text


@pytest.mark.parametrize("name", ["tags", "json", "fence", "paper", "separator:\\n---\\n", REGEX])
def test_one_that_was_cut_behind_its_own_perception_is_no_right_answer(name):
    chosen, (question, *_) = make_format(name), asked(name)
    perception = as_list(wrong(INSTANCES[0])) if name == "paper" else wrong(INSTANCES[0])
    text = f"{chosen.beginning(perception)} so"
    whole = joined(question.beginning, text, chosen)
    assert not TASK.score(chosen.tagged(whole), INSTANCES[0].truth).answer


def test_without_a_format_nothing_is_a_perception():
    chosen = make_format("none")
    for question, instance in zip(asked("none"), INSTANCES, strict=True):
        rest = question.response.removeprefix(question.beginning)
        assert not begins_anew(question.beginning, rest, chosen)
        assert joined(question.beginning, rest, chosen) == question.response
        assert joined(question.beginning, question.response, chosen) == question.response
        assert TASK.score(chosen.tagged(question.response), instance.truth).answer


# --- an endpoint and a file --------------------------------------------------------------------


def endpoint(server, name, told):
    who = Endpoint(server.url, "m", 10.0, "OPENAI_API_KEY", "k")
    return EndpointAnswers(who, Asking(make_format(name)), told=told, first_pause=0.01)


def saying(instance, response):
    """As a `solver` knows it."""
    return SimpleNamespace(image=instance.image, perception=instance.perception, response=response)


def written(name):
    """Who continues what was begun, and gives each of the continuations."""
    known = {i.image.tobytes(): (q, i) for q, i in zip(asked(name), INSTANCES, strict=True)}

    def solve(which):
        responses = [
            saying(instance, question.beginning + rests(name, question, instance)[which])
            for question, instance in known.values()
        ]
        return solver(responses)

    return [solve(which) for which in range(len(rests(name, asked(name)[0], INSTANCES[0])))]


@pytest.mark.parametrize("name", FORMATS)
def test_an_endpoint_that_continues_rightly_is_believed(name):
    options = {"split": "test", "seed": 0, "batch_size": 4, "progress": False}
    for right in written(name):
        with chat_server(right) as server:
            who = endpoint(server, name, "prefix")
            result = measure(asked(name), who, Asking(make_format(name)), **options)
        assert result.a_r.value == 1 and not who.counts.anew and who.counts.told == 4
        assert not [line for line in who.notes() if "another perception" in line]


@pytest.mark.parametrize("name", FORMATS)
def test_an_endpoint_that_begins_anew_is_found_in_every_format(name):
    known = [saying(i, anew(name, i)) for i in INSTANCES]
    right = solver(known)

    def reply(server, body):
        return right(server, body | {"messages": body["messages"][:1]})

    said = pytest.raises(EndpointError, match="did not continue the true perception")
    with chat_server(reply) as server, said:
        endpoint(server, name, "prefix")(asked(name), told=True)


@pytest.mark.parametrize("thoughts", ["", " ", "<think>so</think>"])
def test_the_true_perception_said_again_is_no_other_one(thoughts):
    known = [saying(i, thoughts + i.response) for i in INSTANCES]
    right = solver(known)

    def reply(server, body):
        return right(server, body | {"messages": body["messages"][:1]})

    with chat_server(reply) as server:
        who = endpoint(server, "tags", "prefix")
        found = who(asked("tags"), told=True)
    assert not who.counts.anew
    assert [text for text, _ in found] == [i.response for i in known]


@pytest.mark.parametrize("name", FORMATS)
def test_saved_answers_that_go_on_are_right(name, tmp_path):
    chosen = Asking(make_format(name))
    questions = asked(name)
    for which in range(len(rests(name, questions[0], INSTANCES[0]))):
        rows = [
            {"index": q.index, "completion": q.response, "reasoned": rests(name, q, i)[which]}
            for q, i in zip(questions, INSTANCES, strict=True)
        ]
        path = tmp_path / "a.jsonl"
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        answers = read_answers(path, questions, chosen)
        options = {"split": "test", "seed": 0, "batch_size": 4, "progress": False}
        result = measure(questions, answers, chosen, **options)
        assert (result.a.value, result.a_p.value, result.a_r.value) == (1, 1, 1)
