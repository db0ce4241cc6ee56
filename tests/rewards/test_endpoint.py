"""What an endpoint may not do to a run: get the key elsewhere, fill memory, take for ever."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import pytest

from percbal.rewards import EndpointReanswer
from percbal.rewards.endpoint import LARGEST_REPLY

SEEN = "<perception>a b</perception> <reasoning>so</reasoning> <answer>2</answer>"
RIGHT = {"choices": [{"message": {"content": "<answer>2</answer>"}}]}


@contextmanager
def serving(answer):
    """A server whose replies are written by ``answer(handler)``; with its address and requests."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.server.seen.append(dict(self.headers))
            try:
                answer(self)
            except OSError:  # the client has had enough
                pass

        do_GET = do_POST

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.seen, server.closing, server.daemon_threads = [], Event(), True
    server.url = f"http://127.0.0.1:{server.server_port}/v1"
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()


def send(handler, body, status=200, **headers):
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())


def ask(url, **options):
    """(score or the failure's sentence)"""
    reward = EndpointReanswer(url, "judge", api_key="secret", **options)
    try:
        return reward(completions=[SEEN], prompts=["?"], answer=["2"])[0]
    except RuntimeError as failed:
        return str(failed)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_the_key_never_follows_a_redirect_and_nothing_there_is_scored(status):
    with (
        serving(lambda handler: send(handler, RIGHT)) as other,
        serving(lambda handler: send(handler, b"", status, Location=other.url)) as first,
    ):
        assert f"HTTP {status}" in ask(first.url)
        assert first.seen[0]["Authorization"] == "Bearer secret" and not other.seen


@pytest.mark.parametrize(
    "url, key, warns",
    [
        ("http://host.example/v1", "hidden", True),
        ("http://10.0.0.7:8000/v1", "hidden", True),
        ("http://localhost.example/v1", "hidden", True),
        ("http://host.example/v1", None, False),
        ("https://host.example/v1", "hidden", False),
        ("http://localhost:8000/v1", "hidden", False),
        ("http://127.0.0.1:8000/v1", "hidden", False),
        ("http://[::1]:8000/v1", "hidden", False),
    ],
)
def test_a_key_that_others_can_read_on_its_way_is_warned_of(url, key, warns, caplog):
    EndpointReanswer(url, "judge", api_key=key)
    assert len(caplog.messages) == warns
    assert "hidden" not in caplog.text and ("over http" in caplog.text) is warns


def test_a_proxy_of_the_environment_is_not_given_the_key(monkeypatch):
    with (
        serving(lambda handler: send(handler, RIGHT)) as proxy,
        serving(lambda handler: send(handler, RIGHT)) as endpoint,
    ):
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        assert ask(endpoint.url) == 1 and not proxy.seen


NESTED = b'{"choices": ' + b"[" * 100_000
NO_COMPLETION = {
    "nested": NESTED,
    "nested, whole": NESTED + b"]" * 100_000 + b"}",
    "digits": b"9" * 5000,
    "empty": b"",
    "not UTF-8": b"\xff\xfe\x00",
    "another": [1],
    "no choice": {"choices": []},
}


@pytest.mark.parametrize("body", NO_COMPLETION.values(), ids=NO_COMPLETION)
def test_a_reply_that_is_no_chat_completion_is_a_failure(body):
    with serving(lambda handler: send(handler, body)) as server:
        assert "the reply is no chat completion" in ask(server.url)


@pytest.mark.parametrize("content", [None, 3, {"text": "<answer>2</answer>"}])
def test_a_reply_without_content_is_not_scored(content):
    replies = [{"choices": [{"message": {"content": content}}]}, RIGHT]
    with serving(lambda handler: send(handler, replies[len(handler.server.seen) - 1])) as server:
        reward = EndpointReanswer(server.url, "judge", threads=1)
        other = SEEN.replace("a b", "c d")
        scores = reward(completions=[SEEN, other], prompts=["?"] * 2, answer=["2"] * 2)
    assert scores == [None, 1]


def test_content_in_parts_is_read():
    parts = [{"type": "text", "text": "<answer>2"}, {"type": "text", "text": "</answer>"}]
    reply = {"choices": [{"message": {"content": parts}}]}
    with serving(lambda handler: send(handler, reply)) as server:
        assert ask(server.url) == 1


def test_a_large_reply_is_cut_off_unread():
    sent = []

    def flood(handler):
        handler.send_response(200)
        handler.end_headers()
        for _ in range(64):
            handler.wfile.write(b"[" * 2**20)
            sent.append(1)

    with serving(flood) as server:
        assert f"the reply is larger than {LARGEST_REPLY} bytes" in ask(server.url)
    assert len(sent) < 64


def test_a_packed_reply_is_not_unpacked():
    import gzip

    packed = gzip.compress(json.dumps(RIGHT).encode() + b" " * 2**20)
    with serving(lambda handler: send(handler, packed, **{"Content-Encoding": "gzip"})) as server:
        assert "the reply is no chat completion" in ask(server.url)
        assert server.seen[0]["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("where", ["headers", "body", "nowhere"])
def test_the_timeout_is_of_the_whole_reply(where):
    """A byte now and then does not keep a request alive."""

    def drip(handler):
        if where == "body":
            handler.send_response(200)
            handler.end_headers()
        elif where == "headers":
            handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not handler.server.closing.wait(0.05):
            if where != "nowhere":
                handler.wfile.write(b"x")

    with serving(drip) as server:
        start = time.monotonic()
        assert "timed out after 0.3 s" in ask(server.url, timeout=0.3)
        assert time.monotonic() - start < 5


def test_it_can_be_asked_where_a_loop_is_running():
    async def in_a_loop(url):
        return ask(url)

    with serving(lambda handler: send(handler, RIGHT)) as server:
        assert asyncio.run(in_a_loop(server.url)) == 1


@pytest.mark.parametrize(
    "url, key, sentence",
    [
        ("http://me:hidden@host/v1", None, "url must not hold a password"),
        ("http:///v1", None, "url must begin with http"),
        ("file:///etc/passwd", None, "url must begin with http"),
        ("http://host/v1", "hidden\n", "api_key must be printable ASCII"),
        ("http://host/v1", "hidden\u00e9", "api_key must be printable ASCII"),
    ],
)
def test_an_unusable_address_or_key_is_refused_and_a_secret_not_shown(url, key, sentence):
    with pytest.raises(ValueError, match=sentence) as refused:
        EndpointReanswer(url, "judge", api_key=key)
    assert "hidden" not in str(refused.value)
