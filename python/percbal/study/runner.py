"""The whole experiment: data, bases, starts and arms in parallel processes, then the table.

Everything lies in one directory and is made in steps that are skipped when already done, so that
an interrupted study goes on where it stopped when it is started again.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from percbal.models.tiny import build_tiny_vlm, pixel_statistics
from percbal.study import files
from percbal.study.data import make_data
from percbal.study.job_pool import Job, run_jobs, threads
from percbal.study.json_files import read_json, write_json
from percbal.study.ledger import Ledger
from percbal.study.limits import limits
from percbal.study.plan import START, Run, Start, Study
from percbal.study.recipes import REACHED
from percbal.study.results import Results, collect
from percbal.study.tables import note, table
from percbal.tasks import get_task

MODULE = "percbal.study.job"
WIDEST = 5  # rates of a grid: three, and twice one more


@dataclass(frozen=True)
class Part:
    """What of a study is run now, and where its lines are.

    arms, seeds: of the runs, also of those that tune; (): all.
    tuning: the tuning alone. minutes: after so many no run begins any more.
    lines: a file that other directories and machines share. A run that has a line there is not made
    again, and one in twenty is made twice. Default: ``lines.jsonl`` in the study's directory.
    registered: the hash of what was said beforehand.
    """

    arms: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    tuning: bool = False
    minutes: float | None = None
    lines: Path | None = None
    registered: str = ""

    def of(self, runs: list[Run]) -> list[Run]:
        """The runs that are asked for; starts that are measured are needed by every arm."""
        return [
            run
            for run in runs
            if (not self.arms or run.arm in (START, *self.arms))
            and (not self.seeds or run.seed in self.seeds)
        ]

    def check(self, study: Study) -> None:
        """ValueError for an arm or a seed that the study does not have."""
        for name in self.arms:
            if not (name == START and study.measure_starts):
                study.arm(name)
        tuning = study.tuning_runs() if study.tunes() else []
        known = {run.seed for run in (*study.runs(), *tuning)}
        if unknown := set(self.seeds) - known:
            raise ValueError(
                f"study {study.name!r} has no seed {', '.join(map(str, sorted(unknown)))}; it has: "
                f"{', '.join(map(str, sorted(known)))}"
            )


def run_study(
    study: Study, root: Path, *, jobs: int | None = None, part: Part | None = None
) -> Results:
    """Run what is missing of a study in ``root``; return its results, also in ``results.json``.

    jobs: processes at once, one thread each; default one per core. part: default all of it. Raises
    RuntimeError naming the runs that failed, once the others are done; ValueError if ``root`` holds
    another study, or if another process works on it.
    """
    jobs = jobs or os.cpu_count() or 1
    part = part or Part()
    part.check(study)
    root.mkdir(parents=True, exist_ok=True)
    with _alone(root):
        return _run(study, root, jobs, part)


def _run(study: Study, root: Path, jobs: int, part: Part) -> Results:
    _claim(study, root, part.registered)
    ledger = Ledger(study, part.lines or root / files.LINES, part.registered)
    began = time.monotonic()

    def missing(runs: list[Run], kind: str) -> list[Run]:
        return ledger.without(part.of(runs), kind) if part.lines else part.of(runs)

    def make(runs: list[Run], what: str, again: bool = False) -> None:
        left = part.minutes and part.minutes - (time.monotonic() - began) / 60
        if left is None or left > 0:
            _make(study, root, runs, ledger, again, at_once=jobs, what=what, minutes=left)

    try:
        if study.tunes():
            make(missing(study.tuning_runs(), "tuning"), "tuning the rates")
            ledger.choose_rates()
        if not part.tuning:
            runs = _with_rates(study, study.runs(), ledger)
            make(missing(runs, "run"), "training and measuring")
            if part.lines:
                again = ledger.to_repeat(part.of(runs), threads(jobs))
                make(again, "repeating one in twenty", again=True)
    finally:
        _add_starts(study, root, ledger)
        results = write_results(study, root)
    return results


def done_of(study: Study, root: Path, part: Part) -> tuple[int, int]:
    """How many of the runs that are asked for have a line, and how many they are."""
    ledger = Ledger(study, part.lines or root / files.LINES, part.registered)
    rates = ledger.rates()
    runs = [replace(run, rate=rates.get(run.arm)) for run in part.of(study.runs())]
    return len(runs) - len(ledger.without(runs, "run")), len(runs)


def _add_starts(study: Study, root: Path, ledger: Ledger) -> None:
    """A line of every start that has ended here by a stop rule."""
    for start in (*study.starts, *study.tuning_starts()):
        outcome = read_json(files.start_directory(root, start) / files.OUTCOME)
        if outcome and study.start_recipe(start).stop is not None:
            ledger.add_start(start, outcome, files.start_weights(root, start))


def _with_rates(study: Study, runs: list[Run], ledger: Ledger) -> list[Run]:
    """At their arm's tuned rate, where rates are tuned; arms without one must wait."""
    if study.tuning is None:
        return runs
    rates = ledger.rates()
    if not rates:
        tuned = ledger.rates_file()
        raise ValueError(
            f"{tuned} has no tuned rate; first run percbal study --preset "
            f"{study.tuning.study} --only tuning --lines {tuned}"
        )
    if study.registered:
        _refuse_open_tuning(study, ledger, rates)
    rated = [replace(run, rate=rates.get(run.arm)) for run in runs]
    return [run for run in rated if run.rate is not None or run.arm == START]


def _refuse_open_tuning(study: Study, ledger: Ledger, rates: dict[str, float]) -> None:
    """ValueError before a registered run while a rate may still change."""
    tuning = study.tuning
    assert tuning is not None
    open_ = [arm.name for arm in study.arms if arm.name not in rates]
    if open_:
        raise ValueError(
            f"the rate of {', '.join(open_)} is not tuned yet: all are, before any run of "
            f"{study.name} (--only tuning)"
        )
    for arm, rate in ledger.choices().items():  # also of arms that this study does not have
        if rate in (min(tuning.grid), max(tuning.grid)) and len(tuning.grid) < WIDEST:
            raise ValueError(
                f"{arm} is best at {rate:g}, an end of the grid: as was said beforehand, one more "
                "rate is tried there, for all arms, before any run (RATES in "
                "python/percbal/study/evidence.py)"
            )


def _make(
    study: Study, root: Path, runs: list[Run], ledger: Ledger, again: bool, **how: Any
) -> None:
    """Bases, starts and runs, each when what it needs is there, and a line of each run."""
    if not runs:
        return
    began = time.monotonic()
    _make_untrained_models(study, root, runs)
    make_data(study, root, how["at_once"])
    jobs: dict[Path, Job] = {}
    made: dict[Path, Run] = {}
    for run in runs:
        start = study.start(run.start)
        for job in (_base(root, start.seed), _start(root, start)):
            jobs.setdefault(job.directory, job)
        job = _arm(root, study, run, again)
        jobs[job.directory] = job
        made[job.directory] = run

    def ended(job: Job) -> None:
        if job.directory in made:
            add = ledger.add_repeat if again else ledger.add
            add(made[job.directory], read_json(job.result))
        else:
            _add_starts(study, root, ledger)

    def needless(job: Job) -> str:
        run = made.get(job.directory)
        return "" if run is None else _needless(study, root, ledger, run, again)

    for job in jobs.values():
        if job.result.exists():  # by an interrupted process
            ended(job)
    if how["minutes"] is not None:
        how["minutes"] -= (time.monotonic() - began) / 60
    run_jobs(list(jobs.values()), finished=ended, needless=needless, **how)


def _needless(study: Study, root: Path, ledger: Ledger, run: Run, again: bool) -> str:
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


def write_results(study: Study, root: Path) -> Results:
    """Collect what is there into results.json and results.md."""
    results = collect(study, root)
    write_json(root / files.RESULTS, results.to_dict())
    sections = (table(results), note(results), limits(study, results))
    (root / "results.md").write_text("\n\n".join(filter(None, sections)) + "\n")
    return results


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """One process works on a study; the system gives the lock back however that one ends."""
    with open(root / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ValueError(f"another process is working on the study in {root}") from error
        yield


def _claim(study: Study, root: Path, registered: str) -> None:
    said = read_json(root / files.REGISTERED)
    if said not in (None, registered):
        raise ValueError(
            f"the runs in {root} were made under {said or 'nothing that was said beforehand'}, not "
            f"under {registered or 'nothing'}; choose another --name"
        )
    write_json(root / files.REGISTERED, registered)
    path = root / files.STUDY
    if not path.exists():
        study.save(path)
        return
    old = Study.load(path)
    if study.extends(old):
        study.save(path)
    else:
        raise ValueError(f"{root} holds a study with other settings; choose another --name")


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
