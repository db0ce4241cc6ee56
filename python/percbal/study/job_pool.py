"""Runs many Python processes, a few at once, under one progress bar.

Each job keeps ``log.txt`` and ``progress.json`` ({"step": ..}) in its directory. A failed job does
not stop the others; an interrupt ends all of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm


@dataclass
class Job:
    """What to run: ``python ARGUMENTS``, its name for people, and where it writes."""

    label: str
    arguments: list[str]
    directory: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self, threads: int) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "progress.json").unlink(missing_ok=True)
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        with open(self.directory / "log.txt", "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *self.arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
            )

    def returncode(self) -> int | None:
        assert self.process is not None
        return self.process.poll()

    def steps(self) -> int:
        """Steps done, by its own account."""
        try:
            return int(json.loads((self.directory / "progress.json").read_text())["step"])
        except (OSError, ValueError):
            return 0

    def tail(self, lines: int = 8) -> str:
        """Its last words."""
        log = (self.directory / "log.txt").read_text(errors="replace")
        return "\n".join(log.splitlines()[-lines:])


def run_jobs(waiting: list[Job], *, finished: int, steps: int, at_once: int, what: str) -> None:
    """Run the waiting jobs, ``at_once`` at a time, of ``steps`` steps each.

    finished: how many jobs of the same kind an earlier run has done already, for the bar.
    Raises RuntimeError naming the jobs that failed, once the others are done.
    """
    waiting = list(waiting)
    done = finished * steps
    running: list[Job] = []
    failed: list[Job] = []
    bar = progress_bar(total=done + len(waiting) * steps, initial=done, desc=what, unit="step")
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                running.append(waiting.pop(0))
                running[-1].start(threads=max(1, (os.cpu_count() or 1) // at_once))
            time.sleep(0.5)
            for job in [job for job in running if job.returncode() is not None]:
                running.remove(job)
                if job.returncode() == 0:
                    done += steps
                    bar.write(f"finished: {job.label}")
                else:
                    failed.append(job)
                    bar.write(f"FAILED: {job.label}; see {job.directory / 'log.txt'}")
            bar.set_postfix_str("; ".join(job.label for job in running), refresh=False)
            bar.update(done + sum(min(job.steps(), steps) for job in running) - bar.n)
    except KeyboardInterrupt:
        bar.write("interrupted: start the same command again to go on from the last checkpoints")
        raise
    finally:
        bar.close()
        for job in running:
            assert job.process is not None
            job.process.terminate()
    if failed:
        names = "; ".join(job.label for job in failed)
        raise RuntimeError(f"failed: {names}; the last lines of the first:\n{failed[0].tail()}")


def progress_bar(**options: Any) -> tqdm:
    """A bar that is redrawn often on a terminal and seldom in a log file."""
    return tqdm(**options, mininterval=0.5 if sys.stderr.isatty() else 30.0)
