"""A script of the tests on two processes of one machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

HERE = Path(__file__).parent


def two_processes(script: Path, *arguments: object) -> None:
    """Runs it by torch.distributed; it may import what lies beside this file."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    path = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [*command, script, *map(str, arguments)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def leave() -> NoReturn:
    """The end of a rank that did its work: without the interpreter's own end.

    A thread of gloo may free its last tensor then, for which it needs the interpreter, and the
    process aborts: seen once, on a busy machine, after the process group was destroyed.
    """
    import torch  # of the ranks alone

    torch.distributed.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
