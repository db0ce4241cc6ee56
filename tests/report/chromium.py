"""Chromium without a window, spoken to over a pipe by the DevTools protocol."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FOUND = next((path for path in map(shutil.which, NAMES) if path), None)
PATIENCE = 60  # seconds for one answer


def _pipe() -> list[int]:
    """Above 3 and 4, which the browser gets."""
    pair = os.pipe()
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in pair]
    for end in pair:
        os.close(end)
    return high


class Browser:
    """One page of a browser of its own; ``errors`` is what its console said of errors."""

    def __init__(self, profile: Path) -> None:
        ours, theirs = _pipe(), _pipe()  # (read, write) of commands, of answers
        command = f'exec "$0" "$@" 3<&{ours[0]} 4>&{theirs[1]}'
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
        flags += ["--no-first-run", "--disable-dev-shm-usage", f"--user-data-dir={profile}"]
        self.process = subprocess.Popen(
            ["bash", "-c", command, str(FOUND), *flags, "about:blank"],
            pass_fds=(ours[0], theirs[1]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(ours[0])
        os.close(theirs[1])
        self.to, self.answers = ours[1], theirs[0]
        self.buffer, self.number, self.session = b"", 0, ""
        self.errors: list[str] = []
        targets = self("Target.getTargets")["targetInfos"]
        page = next(target for target in targets if target["type"] == "page")
        attach = {"targetId": page["targetId"], "flatten": True}
        self.session = self("Target.attachToTarget", **attach)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self(f"{domain}.enable")
        self.requests: list[str] = []

    def __call__(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of one command."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            said = self._next()
            if said.get("id") == self.number:
                assert "error" not in said, said
                return said["result"]
            self._event(said)

    def _event(self, said: dict[str, Any]) -> None:
        name, found = said.get("method"), said.get("params", {})
        if name == "Runtime.exceptionThrown" or (
            name == "Runtime.consoleAPICalled" and found["type"] == "error"
        ):
            self.errors.append(json.dumps(found))
        elif name == "Log.entryAdded" and found["entry"]["level"] in ("error", "warning"):
            self.errors.append(found["entry"]["text"])
        elif name == "Network.requestWillBeSent":
            self.requests.append(found["request"]["url"])

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self.buffer:
            assert select.select([self.answers], [], [], PATIENCE)[0], "the browser is silent"
            read = os.read(self.answers, 1 << 20)
            assert read, "the browser has ended"
            self.buffer += read
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)

    def open(self, address: str) -> None:
        self("Page.navigate", url=address)
        deadline = time.monotonic() + PATIENCE
        while self.value("document.readyState") != "complete":
            assert time.monotonic() < deadline

    def value(self, script: str) -> Any:
        """Of an expression in the page."""
        found = self("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            self("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def look(self, width: int, height: int, *, dark: bool = False) -> None:
        """The size of the page, and what the system says of colours."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self("Page.captureScreenshot", format="png")["data"]))

    def close(self) -> None:
        os.close(self.to)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.answers)
