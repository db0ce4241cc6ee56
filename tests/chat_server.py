"""A local server that speaks the protocol of OpenAI's chat completions, for tests of clients."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from threading import Event, Lock, Thread
from typing import Any

from PIL import Image


class Server(ThreadingHTTPServer):
    """What it was asked: ``bodies`` and ``headers`` of every request, and how many at a time."""

    daemon_threads = True

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[Message] = []  # which ignore case
        self.busy = self.busiest = 0
        self.lock, self.closing = Lock(), Event()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"


@contextmanager
def chat_server(reply: Callable[[Server, dict[str, Any]], Any]) -> Iterator[Server]:
    """reply: of the server and the request's body: a text, a whole chat completion, bytes, a list
    of bytes that come slowly one after another, or ``(status, body, headers)``."""

    class Handler(BaseHTTPRequestHandler):
        server: Server

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with self.server.lock:
                self.server.bodies.append(body)
                self.server.headers.append(self.headers)
                self.server.busy += 1
                self.server.busiest = max(self.server.busiest, self.server.busy)
            try:
                said = reply(self.server, body)
                status, content, headers = said if isinstance(said, tuple) else (200, said, {})
                if isinstance(content, str):
                    content = completion(content)
                pieces = content if isinstance(content, list) else []
                content = b"".join(pieces) or content
                raw = content if isinstance(content, bytes) else json.dumps(content).encode()
                with self.server.lock:
                    self.server.busy -= 1
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(raw)))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                for piece in pieces or [raw]:
                    self.wfile.write(piece)
                    if pieces and self.server.closing.wait(0.1):
                        return
            except OSError:  # the client has had enough
                pass

        def log_message(self, *_: Any) -> None:
            pass

    server = Server(Handler)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()


def completion(text: str | None, finish: str = "stop", **message: Any) -> dict[str, Any]:
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "finish_reason": finish,
                "message": {"role": "assistant", "content": text, **message},
            }
        ],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }


def failure(
    status: int, message: str, **headers: str
) -> tuple[int, dict[str, Any], dict[str, str]]:
    return status, {"error": {"message": message, "type": "x", "code": None}}, headers


def pictures(body: dict[str, Any]) -> list[Image.Image]:
    """Those of a request, decoded."""
    parts = [p for m in body["messages"] if isinstance(m["content"], list) for p in m["content"]]
    urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    kind = "data:image/png;base64,"
    assert all(url.startswith(kind) for url in urls)
    return [Image.open(BytesIO(base64.b64decode(url.removeprefix(kind)))) for url in urls]


def solver(instances: Any) -> Callable[[Server, dict[str, Any]], str]:
    """Knows the right response to each picture, or to what it shows as text, and goes on with one
    that was begun."""
    known, told = {}, {}
    for instance in instances:
        known[instance.image.tobytes()] = instance.response
        told[instance.perception] = instance.response

    def reply(server: Server, body: dict[str, Any]) -> str:
        shown = pictures(body)
        if not shown:
            return next(said for seen, said in told.items() if seen in json.dumps(body))
        (picture,) = shown
        response = known[picture.tobytes()]
        begun = body["messages"][-1]
        if begun["role"] != "assistant":
            return response
        assert body["continue_final_message"] is True and body["add_generation_prompt"] is False
        assert response.startswith(begun["content"])
        return response[len(begun["content"]) :]

    return reply
