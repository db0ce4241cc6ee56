"""Runs many Python processes, a few at once, under one progress bar.

Each job keeps ``log.txt`` and ``progress.json`` (the part that is done, 0 to 1) in its directory. A
failed job does not stop the others; an interrupt ends all of them.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from percbal.study.job import ENDS_WITH_PARENT
from percbal.study.json_files import read_json, write_json

TRAINED = 0.9  # a training counts in the progress bar like so much of a run that is also measured
PROGRESS = "progress.json"


@dataclass
class Job:
    """What to run: ``python ARGUMENTS``, its name for people, and where it writes."""

    label: str
    arguments: list[str]
    directory: Path
    result: Path  # there when the job is done
    needs: Path | None = None  # there when it can begin
    process: subprocess.Popen[bytes] | None = None

    def ready(self) -> bool:
        """Whether it can begin."""
        return self.needs is None or self.needs.exists()

    def start(self, threads: int) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / PROGRESS).unlink(missing_ok=True)
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), ENDS_WITH_PARENT: "1"}
        with open(self.directory / "log.txt", "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *self.arguments],
                stdin=subprocess.PIPE,  # never written to: it closes when this process ends
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
            )

    def returncode(self) -> int | None:
        assert self.process is not None
        return self.process.poll()

    def close(self) -> None:
        """End it, if it has not ended, and wait until it has."""
        assert self.process is not None and self.process.stdin is not None
        self.process.terminate()
        self.process.stdin.close()
        self.process.wait()

    def done(self) -> float:
        """The part that is done, by its own account."""
        return read_json(self.directory / PROGRESS) or 0.0

    def tail(self, lines: int = 8) -> str:
        """Its last words."""
        log = (self.directory / "log.txt").read_text(errors="replace")
        return "\n".join(log.splitlines()[-lines:])


def run_jobs(
    jobs: list[Job],
    *,
    at_once: int,
    what: str,
    minutes: float | None = None,
    finished: Callable[[Job], None] = lambda job: None,
    needless: Callable[[Job], str] = lambda job: "",
) -> None:
    """Run the jobs whose result is not there, ``at_once`` at a time, in order as far as they can
    begin.

    minutes: after so many none begins any more. finished: called for each that has ended well.
    needless: asked of each as it is about to begin: why it is left out, "" for one that is not.
    Raises RuntimeError naming the jobs that failed, once the others are done.
    """
    waiting = [job for job in jobs if not job.result.exists()]
    if not waiting:
        return
    done = len(jobs) - len(waiting)
    running: list[Job] = []
    failed: list[Job] = []
    until = math.inf if minutes is None else time.monotonic() + 60 * minutes
    bar = progress_bar(total=len(jobs), initial=done, desc=what, unit="run", bar_format=BAR)
    try:
        while True:
            while len(running) < at_once and time.monotonic() < until:
                job = next((job for job in waiting if job.ready()), None)
                if job is None:
                    break
                waiting.remove(job)
                if reason := needless(job):
                    done += 1
                    bar.write(f"left out: {job.label}: {reason}")
                    continue
                running.append(job)
                job.start(threads(at_once))
            if not running:
                break
            time.sleep(0.5)
            for job in [job for job in running if job.returncode() is not None]:
                running.remove(job)
                job.close()
                if job.returncode() == 0:
                    done += 1
                    finished(job)
                    bar.write(f"finished: {job.label}")
                else:
                    failed.append(job)
                    bar.write(f"FAILED: {job.label}; see {job.directory / 'log.txt'}")
            bar.set_postfix_str("; ".join(job.label for job in running), refresh=False)
            bar.update(done + sum(job.done() for job in running) - bar.n)
    except KeyboardInterrupt:
        bar.write("interrupted: start the same command again to go on from the last checkpoints")
        raise
    finally:
        bar.close()
        for job in running:
            job.close()
    _refuse_failed(failed)


def _refuse_failed(failed: list[Job]) -> None:
    if failed:
        names = "; ".join(job.label for job in failed)
        raise RuntimeError(f"failed: {names}; the last lines of the first:\n{failed[0].tail()}")


def threads(at_once: int) -> int:
    """For each process: its share of the cores, and no more than the caller allows."""
    share = max(1, (os.cpu_count() or 1) // at_once)
    allowed = os.environ.get("OMP_NUM_THREADS", "")
    return min(share, int(allowed)) if allowed.isdigit() and int(allowed) else share


def write_progress(directory: Path, part: float) -> None:
    """A job's own account of itself."""
    write_json(directory / PROGRESS, part)


# runs are counted in fractions
BAR = "{desc}: {percentage:3.0f}%|{bar}| {n:.1f}/{total_fmt} runs [{elapsed}<{remaining}{postfix}]"


def progress_bar(**options: Any) -> tqdm:
    """A bar that is redrawn often on a terminal and seldom in a log file."""
    return tqdm(**options, mininterval=0.5 if sys.stderr.isatty() else 30.0)
