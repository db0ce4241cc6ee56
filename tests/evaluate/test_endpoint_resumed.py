"""Facts about an endpoint that is asked in pieces: batches, samples, and runs that go on."""

from __future__ import annotations

from dataclasses import replace

import openai  # noqa: F401  the tests are skipped without it
import pytest
from answerers import SUDOKU, questions
from chat_server import chat_server, failure, solver

from percbal.evaluate.answer_file import AnswerFile
from percbal.evaluate.diagnose import measure
from percbal.evaluate.endpoint_answers import EndpointAnswers
from percbal.evaluate.endpoint_client import Endpoint, EndpointError
from percbal.evaluate.generation import Completion
from percbal.responses.asking import Asking

RIGHT = solver([SUDOKU.generate(i, "test", 0) for i in range(8)])
HEADER = {"model": "m"}


def anew(server, body):
    """An answer from the image, whatever it is to continue, with another perception."""
    return RIGHT(server, body | {"messages": body["messages"][:1]}).replace("r1c1=", "r9c1=")


def answers(url, **options):
    return EndpointAnswers(Endpoint(url, "m", 10.0, "KEY", None), first_pause=0.01, **options)


def measured(who, n=8, batch_size=2, **options):
    options |= {"split": "test", "seed": 0, "batch_size": batch_size, "progress": False}
    return measure(questions(n), who, Asking(), **options)


@pytest.mark.parametrize("samples, batch_size", [(1, 2), (8, 8)])
def test_an_endpoint_that_begins_anew_is_found_in_small_batches_and_among_samples(
    samples, batch_size
):
    """A batch then has fewer instances than it takes to tell the endpoint from the model."""
    with chat_server(anew) as server, pytest.raises(EndpointError, match="did not continue the"):
        measured(answers(server.url), samples=samples, batch_size=batch_size)


def test_few_instances_that_begin_anew_may_be_the_model():
    with chat_server(anew) as server:
        who = answers(server.url)
        measured(who, n=3)
    assert "of 3 responses that were to continue it, 3 go on with another" in who.notes()[1]


def test_what_began_anew_in_an_earlier_run_is_counted_in_the_result(tmp_path):
    with chat_server(anew) as server:
        measured(answers(server.url), n=3, kept=AnswerFile(tmp_path / "a.jsonl", HEADER))
        who, kept = answers(server.url), AnswerFile(tmp_path / "a.jsonl", HEADER)
        measured(who, n=3, kept=kept)
    assert who.counts.requests == 0 and kept.reused == 6
    assert "of 3 responses that were to continue it, 3 go on with another" in who.notes()[1]


def test_of_a_larger_number_only_what_is_missing_is_asked(tmp_path):
    """However batches are cut: the answer of an endpoint does not depend on them."""
    with chat_server(RIGHT) as server:
        first = answers(server.url)
        measured(first, n=5, batch_size=4, kept=AnswerFile(tmp_path / "a.jsonl", HEADER))
        then = answers(server.url)
        result = measured(then, batch_size=4, kept=AnswerFile(tmp_path / "a.jsonl", HEADER))
    assert first.counts.requests == 1 + 2 * 5 and then.counts.requests == 1 + 2 * 3
    assert result.a.value == 1 and [record.index for record in result.records] == [*range(8)]


def test_an_endpoint_that_cannot_continue_answers_from_the_image_alone():
    def reply(server, body):
        if body.get("continue_final_message"):
            return failure(400, "unknown field")
        return RIGHT(server, body)

    with chat_server(reply) as server:
        found = measured(answers(server.url, asks_told=False), n=2, ways=("image",))
        assert found.a.value == 1
        with pytest.raises(EndpointError, match="--told text puts the true perception"):
            measured(answers(server.url), n=2, ways=("image",))


@pytest.mark.parametrize("changed", ["words of the system", "picture"])
def test_what_was_asked_is_all_of_it(tmp_path, changed):
    """Kept answers to another picture, or behind other words of the system, are refused."""
    (question,) = questions(1)
    path = tmp_path / "a.jsonl"
    AnswerFile(path, HEADER).add([question], "image", answers_of(question))
    (other,) = questions(1, seed=1)
    if changed == "picture":
        new = replace(question, prompt=other.prompt)
    else:
        said = {"role": "system", "content": "Be brief."}
        new = replace(question, prompt=lambda: [said, *question.prompt()])
    kept = AnswerFile(path, HEADER)
    assert kept.of([question], "image") == answers_of(question)
    with pytest.raises(ValueError, match="has an answer to sudoku 0 as it was asked then"):
        AnswerFile(path, HEADER).of([new], "image")


def answers_of(question):
    return [Completion(question.response, False)]
