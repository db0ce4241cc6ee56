"""The trainings of a study, each a process that begins when what it needs is there."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from percbal.models.tiny import build_tiny_vlm, pixel_statistics
from percbal.study import files
from percbal.study.data import make_data
from percbal.study.job_pool import Job, run_jobs
from percbal.study.json_files import read_json
from percbal.study.ledger import Ledger
from percbal.study.plan import Run, Start, Study
from percbal.study.recipes import REACHED
from percbal.tasks import get_task

MODULE = "percbal.study.job"


def make_runs(
    study: Study,
    root: Path,
    runs: list[Run],
    ledger: Ledger,
    *,
    again: bool,
    shared: bool,
    **how: Any,
) -> None:
    """Bases, starts and runs, each when what it needs is there, and a line of each run.

    again: they are repeats. shared: others add lines to the ledger, too, so that it is asked before
    each run. how: further arguments of ``run_jobs``.
    """
    if not runs:
        return
    began = time.monotonic()
    _make_untrained_models(study, root, runs)
    make_data(study, root, how["at_once"])
    jobs: dict[Path, Job] = {}
    made: dict[Path, Run] = {}
    starts: dict[Path, Start] = {}
    for run in runs:
        start = study.start(run.start)
        for job in (_base(root, start.seed), _start(root, start)):
            jobs.setdefault(job.directory, job)
        starts[files.start_directory(root, start)] = start
        job = _arm(root, study, run, again)
        jobs[job.directory] = job
        made[job.directory] = run

    def ended(job: Job) -> None:
        if job.directory in made:
            add = ledger.add_repeat if again else ledger.add
            add(made[job.directory], read_json(job.result))
        elif job.directory in starts:
            _add_start(study, root, ledger, starts[job.directory])

    def left_out(job: Job) -> str:
        run = made.get(job.directory)
        if run is None or not shared:
            return ""
        return needless(study, root, ledger, run, again)

    for job in jobs.values():
        if job.result.exists():  # by an interrupted process
            ended(job)
    if how["minutes"] is not None:
        how["minutes"] -= (time.monotonic() - began) / 60
    run_jobs(list(jobs.values()), finished=ended, needless=left_out, **how)


def needless(study: Study, root: Path, ledger: Ledger, run: Run, again: bool) -> str:
    """Why a run is not made, now that it can begin; "" where it is."""
    if ledger.has(run, "repeat" if again else "tuning" if run.tuning else "run"):
        return "somebody else has made it"
    start = study.start(run.start)
    here = read_json(files.start_directory(root, start) / files.OUTCOME)["verdict"]
    of_start = (line for line in ledger.lines("start") if line["start"] == start.name)
    first = next((line for line in of_start if line["study"] == study.name), None)
    if first is None or (first["status"] == REACHED) == (here == REACHED):
        return ""
    return (
        f"{start.name} has a line that says {first['status']}, and here: {here}; a start counts "
        "once, by its first line"
    )


def add_starts(study: Study, root: Path, ledger: Ledger) -> None:
    """A line of every start that has ended here by a stop rule."""
    for start in (*study.starts, *study.tuning_starts()):
        _add_start(study, root, ledger, start)


def _add_start(study: Study, root: Path, ledger: Ledger, start: Start) -> None:
    outcome = read_json(files.start_directory(root, start) / files.OUTCOME)
    if outcome and study.start_recipe(start).stop is not None:
        ledger.add_start(start, outcome, files.start_weights(root, start))


def _make_untrained_models(study: Study, root: Path, runs: list[Run]) -> None:
    """Random weights, with pixels standardised by training images."""
    seeds = {study.base_seeds()[0], *(study.start(run.start).seed for run in runs)}
    missing = [seed for seed in sorted(seeds) if not files.untrained(root, seed).exists()]
    if not missing:
        return
    task = get_task(study.task, **study.task_options)
    images = [task.generate(index, "train", 0).image for index in range(64)]
    for seed in missing:
        path = files.untrained(root, seed)
        partial = path.with_suffix(".partial")
        build_tiny_vlm(
            partial,
            task.vocabulary(),
            pixel_stats=pixel_statistics(images),
            seed=seed,
            **{"image_size": images[0].width, **study.model_options},
        )
        os.replace(partial, path)


def _base(root: Path, seed: int) -> Job:
    out = files.base_directory(root, seed)
    command = ["-m", MODULE, str(root), "base", str(seed)]
    return Job(f"base {seed}", command, out, out / files.OUTCOME)


def _start(root: Path, start: Start) -> Job:
    """A base's own job for one that has no arm."""
    if start.arm is None:
        return _base(root, start.seed)
    out = files.start_directory(root, start)
    base = files.base_directory(root, start.seed) / files.OUTCOME
    command = ["-m", MODULE, str(root), "start", start.name]
    return Job(start.name, command, out, out / files.OUTCOME, needs=base)


def _arm(root: Path, study: Study, run: Run, again: bool) -> Job:
    out = files.run_directory(root / files.REPEATS if again else root, run)
    label = f"{run.arm} from {run.start}, seed {run.seed}"
    label += "" if run.rate is None else f", rate {run.rate}"
    needs = files.start_directory(root, study.start(run.start)) / files.OUTCOME
    command = ["-m", MODULE, str(root), "arm", json.dumps(asdict(run)), str(out)]
    return Job(label, command, out, out / files.EVALUATION, needs=needs)
