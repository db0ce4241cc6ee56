"""A training in a forked process that can be killed: the parent has paid for the imports."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trainings

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.rmtree"}


class Outcome:
    """How a process ended: "ended" with a digest, "killed", or "error" with what it said."""

    def __init__(self, how: str, said: str) -> None:
        self.how, self.said = how, said


def run(
    kind: str,
    out: Path,
    *,
    kill_at: int | None = None,
    kill_after: float | None = None,
    log: Path,
    **options: Any,
) -> Outcome:
    """Train in a process of its own.

    kill_at: the number of the file event, below ``out``, at which it kills itself with signal 9;
        what was counted is in ``log`` with the suffix .events.
    kill_after: seconds after which it is killed from outside.
    """
    answer = log.with_suffix(".answer")
    answer.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        _train(kind, out, kill_at, log, answer, options)
    if kill_after is not None:
        time.sleep(kill_after)
        try:
            os.kill(child, signal.SIGKILL)
        except ProcessLookupError:
            pass
    os.waitpid(child, 0)
    if not answer.exists():
        return Outcome("killed", "")
    how, _, said = answer.read_text().partition("\n")
    return Outcome(how, said)


def _train(
    kind: str, out: Path, kill_at: int | None, log: Path, answer: Path, options: dict[str, Any]
) -> None:
    sink = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    events = _count_events(out, kill_at)
    try:
        text = f"ended\n{trainings.train(kind, out, **options)}"
    except BaseException as error:
        traceback.print_exc()
        text = f"error\n{type(error).__name__}: {error}"
    partial = answer.with_suffix(".partial")
    partial.write_text(text)
    log.with_suffix(".events").write_text(str(events()))
    os.replace(partial, answer)
    sys.stdout.flush()
    os._exit(0)


def _count_events(out: Path, kill_at: int | None) -> Callable[[], int]:
    """Counts what Python does to files below ``out``, just before it is done."""
    count = 0
    prefix = str(out)

    def on_event(name: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if name == "open":
            path, mode, flags = arguments
            writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if not writes and not (isinstance(mode, str) and set(mode) & set("wax+")):
                return
        elif name not in CHANGES:
            return
        if not str(arguments[0]).startswith(prefix):
            return
        count += 1
        if count == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(on_event)
    return lambda: count
