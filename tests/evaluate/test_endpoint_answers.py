"""Facts about answers of an endpoint: what is asked, what is waited for, what failures say."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import time
from email.utils import formatdate
from io import BytesIO

import openai  # noqa: F401  the tests are skipped without it
import pytest
from chat_server import chat_server, completion, failure, pictures, solver
from PIL import Image

from percbal.evaluate.chat_requests import chat_request, png
from percbal.evaluate.diagnose import measure
from percbal.evaluate.endpoint_answers import EndpointAnswers
from percbal.evaluate.endpoint_client import LARGEST_REPLY, Endpoint, EndpointError
from percbal.evaluate.questions import Question, task_questions
from percbal.responses.asking import Asking
from percbal.responses.formats import make_format
from percbal.tasks import get_task

TASK = get_task("sudoku", size=4)
INSTANCES = [TASK.generate(i, "test", 0) for i in range(5)]
RIGHT = solver(INSTANCES)
KEY = "sk-very-secret"


def questions(n=5, asking=None):
    return task_questions(TASK, n, "test", 0, asking or Asking())


def answers(url, *, timeout=10.0, key=KEY, **options):
    options = {"first_pause": 0.01} | options
    return EndpointAnswers(Endpoint(url, "m", timeout, "OPENAI_API_KEY", key), **options)


def asked(url, n=1, told=False, **options):
    """The failure's sentence."""
    with pytest.raises(EndpointError) as failed:
        answers(url, **options)(questions(n), told=told)
    return str(failed.value)


@pytest.mark.parametrize("told", ["prefix", "text"])
def test_right_answers_are_right_in_all_three(told):
    with chat_server(RIGHT) as server:
        who = answers(server.url, told=told, prices=(2.0, 30.0))
        options = {"split": "test", "seed": 0, "batch_size": 3, "progress": False}
        result = measure(questions(), who, Asking(), **options)
    assert (result.a.value, result.a_p.value, result.a_r.value) == (1, 1, 1)
    assert all(r.reasoned == i.response for r, i in zip(result.records, INSTANCES, strict=True))
    asking, used = who.notes()
    assert ("continued" in asking) == (told == "prefix")
    assert used == "11 requests, 1100 tokens in, 110 out, cost 0.0055 by the prices given"


def test_a_request_has_the_very_picture_the_limit_and_the_key():
    with chat_server(RIGHT) as server:
        answers(server.url)(questions(2), told=False)
    trial, *others = server.bodies
    assert trial["max_tokens"] == 1 and trial["messages"][-1]["role"] == "assistant"
    for body in others:
        assert body["model"] == "m" and body["temperature"] == 0 and "stream" not in body
    found = {pictures(body)[0].tobytes(): body["max_tokens"] for body in others}
    assert found == {i.image.tobytes(): len(i.response) for i in INSTANCES[:2]}
    for headers in server.headers:
        assert headers["Authorization"] == f"Bearer {KEY}"
        assert headers["Accept-Encoding"] == "identity"


def test_without_a_key_none_is_sent():
    with chat_server(RIGHT) as server:
        answers(server.url, key=None)(questions(1), told=False)
    assert not [h for h in server.headers if "Authorization" in h]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1", "I;16", "CMYK", "YCbCr"])
def test_a_picture_is_sent_without_loss(mode):
    image = Image.linear_gradient("L").resize((9, 7))
    image = image.convert("RGB").convert(mode) if mode != "I;16" else image.convert("I;16")
    back = Image.open(BytesIO(png(image)))
    same = image if mode not in ("CMYK", "YCbCr") else image.convert("RGB")
    assert back.mode == same.mode and back.tobytes() == same.tobytes()


def test_options_of_the_template_and_other_fields_are_sent():
    asking = Asking(template={"enable_thinking": False})
    with chat_server(RIGHT) as server:
        fields = {"top_k": 1, "temperature": None, "max_tokens": None, "max_completion_tokens": 9}
        answers(server.url, body=fields)(questions(1, asking), told=False)
    for body in server.bodies:
        assert body["chat_template_kwargs"] == {"enable_thinking": False}
        assert body["top_k"] == 1 and body["max_completion_tokens"] == 9
        assert not {"temperature", "max_tokens"} & {*body}


def test_the_order_is_kept_and_so_many_are_asked_at_a_time():
    late = {instance.image.tobytes(): 0.2 - 0.04 * i for i, instance in enumerate(INSTANCES)}

    def reply(server, body):
        time.sleep(late[pictures(body)[0].tobytes()])
        return RIGHT(server, body)

    with chat_server(reply) as server:
        found = answers(server.url, concurrency=3)(questions(), told=False)
        assert [text for text, _ in found] == [i.response for i in INSTANCES]
        assert server.busiest == 3


@pytest.mark.parametrize("when", ["seconds", "date"])
def test_an_endpoint_says_how_long_to_wait(when):
    times = []

    def reply(server, body):
        times.append(time.monotonic())
        if len(times) == 2:
            value = "1" if when == "seconds" else formatdate(time.time() + 2, usegmt=True)
            return failure(429, "slow down", **{"Retry-After": value})
        return RIGHT(server, body)

    with chat_server(reply) as server:
        (found,) = answers(server.url)(questions(1), told=False)
    assert found.text == INSTANCES[0].response
    assert times[2] - times[1] > 0.9


def test_a_wait_holds_for_all_requests():
    times: list[float] = []

    def reply(server, body):
        times.append(time.monotonic())
        if len(times) == 2:
            return failure(429, "slow down", **{"Retry-After": "1"})
        time.sleep(0.1)  # the other one is under way meanwhile
        return RIGHT(server, body)

    with chat_server(reply) as server:
        found = answers(server.url, concurrency=2)(questions(5), told=False)
    assert [text for text, _ in found] == [i.response for i in INSTANCES]
    assert times[2] - times[1] < 0.5 and min(times[3:]) - times[1] > 0.9


def test_too_many_requests_without_a_word_are_tried_again():
    with chat_server(
        lambda s, b: failure(429, "?") if len(s.bodies) < 3 else RIGHT(s, b)
    ) as server:
        (found,) = answers(server.url)(questions(1), told=False)
    assert found.text == INSTANCES[0].response and len(server.bodies) == 4


def test_a_reply_that_trickles_is_late_as_a_whole():
    """Though every piece of it is in time."""
    whole = json.dumps(completion("x")).encode()
    with chat_server(lambda *_: [whole[i : i + 9] for i in range(0, len(whole), 9)]) as server:
        start = time.monotonic()
        assert "no reply within 0.3 s (--timeout)" in asked(server.url, timeout=0.3, retries=0)
        assert time.monotonic() - start < 2


def test_no_stream_is_asked_for():
    """A gateway that reads a missing field as yes would stream."""
    with chat_server(RIGHT) as server:
        answers(server.url)(questions(2), told=True)
    assert {body.get("stream", False) for body in server.bodies} == {False}


def test_a_wait_that_is_too_long_is_not_waited_for():
    with chat_server(lambda *_: failure(429, "no quota", **{"Retry-After": "86400"})) as server:
        said = asked(server.url)
        assert "HTTP 429: " in said and "it asks to wait for 86400 s" in said
    assert len(server.bodies) == 1


def test_failures_of_the_server_are_tried_again():
    def reply(server, body):
        n = len(server.bodies)
        return failure(500 + n, "broken") if n < 4 else RIGHT(server, body)

    with chat_server(reply) as server:
        (found,) = answers(server.url)(questions(1), told=False)
    assert found.text == INSTANCES[0].response
    with chat_server(lambda *_: failure(503, "broken")) as server:
        said = asked(server.url, retries=2)
    assert said.startswith("sudoku 0: ") and "HTTP 503: " in said and "broken" in said
    assert "it was asked 3 times (--retries)" in said and len(server.bodies) == 3


def test_a_late_reply_is_tried_again_and_then_named():
    def reply(server, body):
        server.closing.wait(5)
        return ""

    with chat_server(reply) as server:
        start = time.monotonic()
        assert "no reply within 0.2 s (--timeout)" in asked(server.url, timeout=0.2, retries=1)
        assert time.monotonic() - start < 4 and len(server.bodies) == 2


NO_COMPLETION = {
    "cut": b'{"choices": [{"mess',
    "nested": b'{"choices": ' + b"[" * 100_000,
    "empty": b"",
    "text": b"<html>",
    "another": b"[1]",
    "no choice": b'{"choices": []}',
    "no choices": b'{"ok": true}',
    "null": b"null",
    "large": b'{"choices": "' + b" " * LARGEST_REPLY + b'"}',
}


@pytest.mark.parametrize("body", NO_COMPLETION.values(), ids=NO_COMPLETION)
def test_a_reply_that_is_no_chat_completion_is_one_sentence(body):
    with chat_server(lambda *_: body) as server:
        said = asked(server.url, retries=0)
    assert "the reply is no chat completion" in said and "\n" not in said and len(said) < 600


def test_a_packed_reply_is_not_unpacked():
    packed = gzip.compress(json.dumps(completion("x")).encode() + b" " * 2**20)
    with chat_server(lambda *_: (200, packed, {"Content-Encoding": "gzip"})) as server:
        assert "it is packed" in asked(server.url, retries=0)


@pytest.mark.parametrize(
    "status, message, sentence",
    [
        (401, f"Incorrect API key provided: {KEY}.", "the key in OPENAI_API_KEY; --api-key-env"),
        (403, "not yours", "the key in OPENAI_API_KEY; --api-key-env"),
        (404, "The model `m` does not exist.", "is there a model m"),
        (400, "Unrecognized argument: continue_final_message", "--told text puts the true"),
        (422, "extra fields", "--told text puts the true"),
    ],
)
def test_a_refusal_is_one_sentence_without_the_key(status, message, sentence, caplog):
    """Found by the first request, before the others are sent."""
    with chat_server(lambda *_: failure(status, message)) as server, caplog.at_level(logging.DEBUG):
        said = asked(server.url, n=5)
    assert len(server.bodies) == 1
    assert said.startswith(f"sudoku 0: {server.url} did not answer: HTTP {status}: ")
    assert sentence in said and "\n" not in said
    assert KEY not in said and KEY not in caplog.text
    assert KEY not in repr(answers(server.url))


def test_a_missing_key_is_named():
    with chat_server(lambda *_: failure(401, "who are you")) as server:
        assert "no key, OPENAI_API_KEY is empty" in asked(server.url, key=None)


def test_nobody_there_is_one_sentence_at_once():
    with chat_server(RIGHT) as server:
        url = server.url
    start = time.monotonic()
    assert f"{url} did not answer: nothing listens there" in asked(url, first_pause=5)
    assert time.monotonic() - start < 3


def test_the_key_follows_no_redirect_and_no_proxy(monkeypatch):
    with chat_server(RIGHT) as other:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, other.url)
        monkeypatch.delenv("no_proxy", raising=False)
        moved = (307, b"", {"Location": f"{other.url}/chat/completions"})
        with chat_server(lambda *_: moved) as server:
            assert "HTTP 307; it redirects" in asked(server.url)
        assert len(server.bodies) == 1 and not other.bodies


def test_a_lost_connection_is_tried_again():
    def reply(server, body):
        if len(server.bodies) in (2, 3):
            raise OSError  # closes the connection without a word
        return RIGHT(server, body)

    with chat_server(reply) as server:
        (found,) = answers(server.url)(questions(1), told=False)
    assert found.text == INSTANCES[0].response


def test_an_endpoint_that_begins_anew_is_found():
    """It takes the fields and leaves them be: a_r would be a second a."""

    def reply(server, body):
        return RIGHT(server, body | {"messages": body["messages"][:1]}).replace("r1c1=", "r9c1=")

    with chat_server(reply) as server:
        assert "did not continue the true perception" in asked(server.url, n=4, told=True)


def test_some_that_begin_anew_are_counted():
    def reply(server, body):
        again = "<perception> no </perception> <answer> 1 </answer>"
        return again if pictures(body)[0].tobytes() == first else RIGHT(server, body)

    first = INSTANCES[0].image.tobytes()
    with chat_server(reply) as server:
        who = answers(server.url)
        found = who(questions(2), told=True)
    assert found[0].text.startswith(questions(1)[0].beginning + "<perception> no")
    assert "of 2 responses that were to continue it, 1 go on with another" in who.notes()[1]


def test_one_that_repeats_the_beginning_is_not_given_it_twice():
    def reply(server, body):
        return RIGHT(server, body | {"messages": body["messages"][:1]})

    with chat_server(reply) as server:
        (found,) = answers(server.url)(questions(1), told=True)
    assert found.text == INSTANCES[0].response


@pytest.mark.parametrize(
    "message, finish, text, cut",
    [
        ({"text": "ab"}, "length", "ab", True),
        ({"text": "b", "reasoning_content": "a"}, "stop", "<think>a</think>b", False),
        ({"text": "b", "reasoning": "a"}, "stop", "<think>a</think>b", False),
        ({"text": None, "reasoning_content": "a"}, "length", "<think>a", True),
        ({"text": None, "refusal": "no"}, "stop", "no", False),
        ({"text": None}, "content_filter", "", False),
        ({"text": [{"type": "text", "text": "a"}]}, "stop", "a", False),
    ],
)
def test_what_a_reply_says(message, finish, text, cut):
    with chat_server(lambda *_: completion(finish=finish, **message)) as server:
        assert answers(server.url)(questions(1), told=False) == [(text, cut)]


def test_replies_without_their_tokens_are_counted():
    reply = {name: value for name, value in completion("x").items() if name != "usage"}
    with chat_server(lambda *_: reply) as server:
        who = answers(server.url)
        who(questions(1), told=False)
    assert "2 requests, 0 tokens in, 0 out, 2 replies did not count theirs" in who.notes()


def test_it_can_be_asked_where_a_loop_is_running():
    async def in_a_loop(url):
        return answers(url)(questions(1), told=False)

    with chat_server(RIGHT) as server:
        assert asyncio.run(in_a_loop(server.url))[0].text == INSTANCES[0].response


def test_a_true_perception_in_words_stands_behind_the_question():
    chosen = Asking(make_format("json"))
    (question,) = questions(1, chosen)
    request = chat_request(question, "text")
    (message,) = request["messages"]
    assert message["content"][-1]["text"].endswith(question.beginning)
    assert "continue_final_message" not in request


def test_a_prompt_that_the_assistant_began_is_continued():
    def prompt():
        content = [{"type": "text", "text": "I see "}]
        return [{"role": "user", "content": "look"}, {"role": "assistant", "content": content}]

    question = Question(0, "here", prompt, "<perception>", "", None, TASK, None)
    request = chat_request(question, "prefix")
    assert request["messages"][-1]["content"] == "I see <perception>"
    assert request["continue_final_message"] and request["max_tokens"] == 1024


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"url": "http://me:hidden@host/v1"}, "url must not hold a password"),
        ({"url": "ftp://host"}, "url must begin with http"),
        ({"key": "hidden\n"}, "api_key must be printable ASCII"),
        ({"timeout": 0}, "timeout must be positive"),
        ({"concurrency": 0}, "concurrency must be at least 1"),
        ({"retries": -1}, "retries must be at least 0"),
        ({"body": {"stream": True}}, "stream must be off in the body"),
        ({"body": {"n": 4}}, "n must be 1 in the body, or left out, got 4"),
    ],
)
def test_what_cannot_be_asked_is_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence) as refused:
        answers(**{"url": "http://host/v1"} | options)
    assert "hidden" not in str(refused.value)


def test_without_its_package_an_endpoint_says_what_to_install(monkeypatch):
    monkeypatch.setattr("percbal.evaluate.endpoint_client.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'pip install "percbal\[endpoint\]"'):
        answers("http://host/v1")
