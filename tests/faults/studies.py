"""The small study, interrupted and killed; and a file system that is too small."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SIGNALS = {"Ctrl-C": signal.SIGINT, "kill -9": signal.SIGKILL}
TIMES = 3  # each
CHILDREN_WITHIN = 15.0  # seconds in which the processes of a killed study must have ended


@contextmanager
def small_disk(path: Path, size: int) -> Iterator[Path]:
    """A file system of so many bytes; needs the rights to mount one."""
    path.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)


def start(root: Path) -> subprocess.Popen[bytes]:
    log = open(root.parent / "log.txt", "ab")
    command = ["study", "--preset", "smoke", "--out", str(root.parent), "--name", root.name]
    return subprocess.Popen(
        [sys.executable, "-m", "percbal", *command, "--jobs", "2"],
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def figures(root: Path) -> Any:
    """All of the results but how long it took."""
    found = json.loads((root / "results.json").read_text())
    for row in found["rows"]:
        row.pop("seconds")
    return found


def children(root: Path) -> list[int]:
    """The processes that work on the study."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if str(root).encode() in words and b"percbal.study.job" in words:
            found.append(int(path.parent.name))
    return found


def cases(root: Path) -> Iterator[Any]:
    from suite import Case

    root.mkdir(parents=True, exist_ok=True)
    whole = root / "whole"
    shutil.rmtree(whole, ignore_errors=True)
    began = time.monotonic()
    if start(whole).wait(900):
        raise RuntimeError(f"the undisturbed study failed: {root / 'log.txt'}")
    seconds, wanted = time.monotonic() - began, figures(whole)
    draw = random.Random(1)
    for name, number in SIGNALS.items():
        for _ in range(TIMES):
            out = root / "run"
            shutil.rmtree(out, ignore_errors=True)
            after = draw.uniform(0.2, 0.9) * seconds
            running = start(out)
            time.sleep(after)
            # Ctrl-C reaches all processes of a terminal, kill -9 the one
            if number == signal.SIGINT:
                os.killpg(running.pid, number)
            else:
                running.kill()
            running.wait()
            case = f"{name} after {after:.0f} s"
            end = time.monotonic() + CHILDREN_WITHIN
            while children(out) and time.monotonic() < end:
                time.sleep(0.2)
            if left := children(out):
                yield Case(case, False, f"{len(left)} processes went on without it")
                for child in left:
                    os.kill(child, signal.SIGKILL)
                continue
            ended = start(out).wait(900)
            same = ended == 0 and figures(out) == wanted
            yield Case(case, same, "the same results" if same else f"exit status {ended}")
