"""The whole experiment: data, bases, starts and arms in parallel processes, then the table.

Everything lies in one directory and is made in steps that are skipped when already done, so that
an interrupted study goes on where it stopped when it is started again.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from percbal.study import files
from percbal.study.job_pool import threads
from percbal.study.json_files import read_json, write_json
from percbal.study.ledger import Ledger
from percbal.study.limits import limits
from percbal.study.making import add_starts, make_runs
from percbal.study.plan import START, Run, Study
from percbal.study.results import Results, collect
from percbal.study.tables import note, table

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
            make_runs(
                study,
                root,
                runs,
                ledger,
                again=again,
                shared=part.lines is not None,
                at_once=jobs,
                what=what,
                minutes=left,
            )

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
        add_starts(study, root, ledger)
        results = write_results(study, root)
    return results


def done_of(study: Study, root: Path, part: Part) -> tuple[int, int]:
    """How many of the runs that are asked for have a line, and how many they are."""
    ledger = Ledger(study, part.lines or root / files.LINES, part.registered)
    rates = ledger.rates()
    runs = [replace(run, rate=rates.get(run.arm)) for run in part.of(study.runs())]
    return len(runs) - len(ledger.without(runs, "run")), len(runs)


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
