"""Blind answers of another model, over HTTP: what is asked, and what an outage costs."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import pytest
from reward_fixtures import ask, picture, said, turns

from percbal import rewards
from percbal.tasks import get_task


class Endpoint(BaseHTTPRequestHandler):
    """Answers with the number of words between the perception tags."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((body, self.headers.get("Authorization")))
        user = body["messages"][-1]["content"]
        perceived = user.split("<perception>")[1].split("</perception>")[0].split()
        reply = json.dumps(
            {"choices": [{"message": {"content": f"<answer>{len(perceived)}</answer>"}}]}
        ).encode()
        if "broken" in perceived:
            self.send_error(503)
            return
        if "nonsense" in perceived:
            reply = b'{"choices": []}'
        if "silence" in perceived:
            self.server.closing.wait()
        if "hangup" in perceived:
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *_):
        pass


@pytest.fixture
def endpoint(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    server.asked = []
    server.url = f"http://127.0.0.1:{server.server_port}/v1/chat/completions"
    server.closing = Event()
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.closing.set()
    server.shutdown()
    server.server_close()


def test_an_endpoint_answers_from_the_perception_alone(endpoint):
    reward = rewards.EndpointReanswer(endpoint.url, "judge", samples=2, api_key="key")
    completions = [turns(said(p, "3")) for p in ("a b c", "a b", "a b c", "")]
    logged = {}
    scores = reward(
        completions=completions,
        prompts=[ask(picture(0), "how many?")] * 4,
        answer=["3"] * 4,
        log_metric=logged.__setitem__,
        trainer_state=None,
    )
    assert scores == [1, 0, 1, 0]
    assert reward.__name__ == "blind_reanswer" and logged == {"blind_reanswer/failed": 0}
    assert len(endpoint.asked) == 4  # two samples of two distinct perceptions
    body, key = endpoint.asked[0]
    assert body["model"] == "judge" and key == "Bearer key"
    assert body["messages"][0]["role"] == "system"
    asked = {tuple(m["content"] for m in body["messages"][1:]) for body, _ in endpoint.asked}
    wanted = {f"<perception> {p} </perception>\nhow many?" for p in ("a b c", "a b")}
    assert asked == {(text,) for text in wanted}


@pytest.mark.parametrize("trouble", ["broken", "nonsense", "hangup"])
def test_a_failed_request_leaves_its_completion_unscored(endpoint, trouble):
    reward = rewards.EndpointReanswer(endpoint.url, "judge")
    logged = {}
    scores = reward(
        completions=[said(f"{trouble} here", "2"), said("a b", "2")],
        prompts=["how many?"] * 2,
        answer=["2"] * 2,
        log_metric=logged.__setitem__,
    )
    assert scores == [None, 1] and logged == {"blind_reanswer/failed": 0.5}


def test_an_endpoint_that_always_fails_is_one_clear_error(endpoint):
    reward = rewards.EndpointReanswer(endpoint.url, "judge")
    with pytest.raises(RuntimeError, match=r"all 1 requests to http://127.* failed; .*503"):
        reward(completions=[said("broken", "2")], prompts=["?"], answer=["2"])
    hasty = rewards.EndpointReanswer(endpoint.url, "judge", timeout=0.2)
    with pytest.raises(RuntimeError, match="failed; the first: timed out"):
        hasty(completions=[said("silence", "2")], prompts=["?"], answer=["2"])
    nobody = rewards.EndpointReanswer("http://127.0.0.1:9/v1", "judge", timeout=5)
    with pytest.raises(RuntimeError, match="all 1 requests to http://127.0.0.1:9/v1 failed"):
        nobody(completions=[said("a", "2")], prompts=["?"], answer=["2"])
    assert nobody(completions=["nothing"], prompts=["?"], answer=["2"]) == [0]


def test_an_endpoint_can_be_judged_by_a_task(endpoint, exported):
    by_task = rewards.from_task(get_task("sudoku"))
    reward = rewards.EndpointReanswer(endpoint.url, "judge", reward=by_task.blind_reanswer)
    own = exported[0]["messages"][1]["content"][0]["text"]
    assert reward(completions=[own], prompts=["?"], truth=[exported[0]["truth"]]) == [0]


def test_endpoint_options_are_checked():
    with pytest.raises(ValueError, match="url must begin with http.* got 'localhost'"):
        rewards.EndpointReanswer("localhost", "judge")
    with pytest.raises(ValueError, match="samples must be positive, got 0"):
        rewards.EndpointReanswer("http://localhost", "judge", samples=0)


def options_sent(endpoint, rows, **options):
    """What each of some requests has for the chat template; None where it has no such field."""
    reward = rewards.EndpointReanswer(endpoint.url, "judge", threads=1, **options)
    n = len(rows["prompts"])
    endpoint.asked.clear()
    scores = reward(completions=[said("a b", "2")] * n, answer=["2"] * n, **rows)
    assert scores == [1.0] * n
    return [body.get("chat_template_kwargs") for body, _ in endpoint.asked]


def test_options_of_the_chat_template_are_sent_and_the_rows_go_first(endpoint):
    """As vLLM and SGLang take them: a field of the body, beside the messages."""
    column = [{"enable_thinking": True, "unset": None}, None]
    rows = {"prompts": ["one?", "two?"], "chat_template_kwargs": column}
    assert options_sent(endpoint, rows) == [{"enable_thinking": True}, None]
    given = {"enable_thinking": False, "depth": 2}
    assert options_sent(endpoint, rows, chat_template_kwargs=given) == [
        {"enable_thinking": True, "depth": 2},
        given,
    ]
    assert options_sent(endpoint, {"prompts": ["one?"]}) == [None]


def test_options_that_a_prompt_carries_are_sent_and_are_no_part_of_a_message(endpoint):
    """So a GRPO trainer hands a row's on."""
    prompt = [
        {"role": "user", "content": "one?", "chat_template_kwargs": {"enable_thinking": False}}
    ]
    assert options_sent(endpoint, {"prompts": [prompt]}) == [{"enable_thinking": False}]
    assert all(
        message.keys() == {"role", "content"} for message in endpoint.asked[0][0]["messages"]
    )
