"""A training on two processes, one of which is killed: both end, and both go on."""

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
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TIMES = 3
WITHIN = 60.0  # seconds in which the other rank must have ended


def start(root: Path, out: Path) -> subprocess.Popen[bytes]:
    path = os.pathsep.join(filter(None, (str(HERE.parent), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    log = open(root / "log.txt", "ab")
    return subprocess.Popen(
        [*command, HERE / "ranks_worker.py", out],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path},
        start_new_session=True,
        stdout=log,
        stderr=subprocess.STDOUT,
    )


def cases(root: Path) -> Iterator[Any]:
    from suite import Case

    root.mkdir(parents=True, exist_ok=True)
    whole = root / "whole"
    shutil.rmtree(whole, ignore_errors=True)
    if start(root, whole).wait(300):
        raise RuntimeError(f"the undisturbed run failed: {root / 'log.txt'}")
    digest = json.loads((whole / "end.json").read_text())
    draw = random.Random(0)
    for number in range(TIMES):
        out = root / "run"
        shutil.rmtree(out, ignore_errors=True)
        running = start(root, out)
        while not (out / "rank1.pid").exists() and running.poll() is None:
            time.sleep(0.05)
        time.sleep(draw.uniform(0.2, 4.0))
        name = f"rank 1 killed, {number}"
        try:
            os.kill(int((out / "rank1.pid").read_text()), signal.SIGKILL)
        except ProcessLookupError:
            pass
        began = time.monotonic()
        try:
            running.wait(WITHIN)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            yield Case(name, False, f"the other rank had not ended after {WITHIN:.0f} s")
            continue
        ended = time.monotonic() - began
        (out / "end.json").unlink(missing_ok=True)
        again = start(root, out).wait(300)
        same = again == 0 and json.loads((out / "end.json").read_text()) == digest
        how = "bit-equal" if same else "other weights"
        yield Case(name, same, f"{how}; the other rank ended after {ended:.0f} s")
