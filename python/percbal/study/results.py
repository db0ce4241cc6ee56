"""The numbers of a study: each arm over its runs, and arms in pairs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from percbal.evaluate.intervals import Interval, paired_difference, t_interval, wilson_interval
from percbal.evaluate.names import METRICS
from percbal.study import files
from percbal.study.json_files import read_json
from percbal.study.plan import KNOWN, NEW, START, Run, Study

Array = NDArray[np.float64]
Evaluations = dict[Run, dict[str, Any]]  # as ``files.EVALUATION`` has them


@dataclass(frozen=True)
class Row:
    """One arm from one population of starts, over the runs that are there.

    figures: ``a``, ``a_p``, ``a_r``, by samples where there are any, else greedy; then, as far as
    they were measured, ``greedy a`` .., and ``a_p known``, ``a_p new`` by kind of pictures. Means
    over runs and pictures, as values, or as changes against each run's own start.
    """

    start: str
    arm: str
    runs: list[str]
    changes: bool
    figures: dict[str, Interval]
    by_run: dict[str, list[float]]  # of a, a_p and a_r
    coupling: dict[str, float]  # of the samples after training, mean over runs
    signal: dict[str, list[float | None]]  # reward -> within-group r with perception, by thirds
    seconds: float  # of training, mean
    perception_f1: float | None = None  # mean, by greedy decoding
    unreadable: int | None = None  # greedy completions, of all runs


@dataclass(frozen=True)
class Difference:
    """Of two arms from one population, over the runs that both have."""

    start: str
    arm: str
    minus: str
    runs: list[str]
    figures: dict[str, Interval]
    by_run: dict[str, list[float]]

    @property
    def name(self) -> str:
        """For tables."""
        return f"{self.arm} minus {self.minus}"

    def over_runs(self, metric: str) -> Interval | None:
        """Student's t interval; None for one run."""
        return over_runs(self.by_run[metric])

    def points(self, metric: str) -> str:
        """With both intervals and their marks."""
        return points(self.figures[metric], self.over_runs(metric))

    def significant(self, metric: str) -> bool:
        """By both intervals, if there are both."""
        both = (self.figures[metric], self.over_runs(metric))
        return all(excludes_zero(interval) for interval in both if interval is not None)


@dataclass(frozen=True)
class Results:
    """A study's tables."""

    study: str
    instances: int  # pictures of each kind
    samples: int
    rows: list[Row]
    differences: list[Difference]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; intervals as [value, low, high]."""
        return asdict(self)

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read the JSON that ``to_dict`` went into."""

        def of(kind: type, fields: dict[str, Any]) -> Any:
            found = {name: Interval(*values) for name, values in fields["figures"].items()}
            return kind(**fields | {"figures": found})

        fields = json.loads(path.read_text())
        rows = [of(Row, row) for row in fields.pop("rows")]
        differences = [of(Difference, pair) for pair in fields.pop("differences")]
        return cls(rows=rows, differences=differences, **fields)

    def row(self, start: str, arm: str) -> Row:
        """The row of an arm from a population of starts."""
        return next(row for row in self.rows if (row.start, row.arm) == (start, arm))

    def starts(self) -> list[str]:
        """The populations that have rows."""
        return list(dict.fromkeys(row.start for row in self.rows))

    def by_run(self, start: str, arm: str, minus: str, metric: str) -> list[float]:
        """One difference of two arms for each run that both have."""
        ours, theirs = (self.row(start, name) for name in (arm, minus))
        base = dict(zip(theirs.runs, theirs.by_run[metric], strict=True))
        pairs = zip(ours.runs, ours.by_run[metric], strict=True)
        return [value - base[run] for run, value in pairs if run in base]


def collect(study: Study, root: Path) -> Results:
    """Read the evaluations that are there; an arm without any has no row."""
    rows, differences = [], []
    for start in study.populations():
        starts = _read(root, study.runs_of(start, START)) if study.measure_starts else {}
        found = {arm.name: _read(root, study.runs_of(start, arm.name)) for arm in study.arms}
        base = {run.start: evaluation for run, evaluation in starts.items()}
        if study.measure_starts:  # a change needs its start
            found = {
                arm: {run: e for run, e in runs.items() if run.start in base}
                for arm, runs in found.items()
            }
        if starts:
            rows.append(_row(study, start, START, starts, {}))
        rows += [_row(study, start, arm, runs, base) for arm, runs in found.items() if runs]
        for arm, minus in study.compared:
            # the runs of two arms are paired: the same start, the same seed
            theirs = {(run.start, run.seed): e for run, e in found[minus].items()}
            ours = {run: e for run, e in found[arm].items() if (run.start, run.seed) in theirs}
            if ours:
                pairs = [(e, theirs[run.start, run.seed]) for run, e in ours.items()]
                differences.append(_difference(study, start, arm, minus, ours, pairs))
    return Results(study.name, study.test_instances, study.samples, rows, differences)


def _read(root: Path, runs: Iterable[Run]) -> Evaluations:
    """Of those that are there; a run whose start failed has no numbers."""
    found = {run: read_json(files.run_directory(root, run) / files.EVALUATION) for run in runs}
    return {run: each for run, each in found.items() if each is not None and "right" in each}


def _row(
    study: Study, start: str, arm: str, runs: Evaluations, base: dict[Any, dict[str, Any]]
) -> Row:
    ours = list(runs.values())
    before = [base[run.start] for run in runs] if base else None
    couplings = [run["coupling"] for run in ours]
    return Row(
        start=start,
        arm=arm,
        runs=[study.label(run) for run in runs],
        changes=before is not None,
        figures={m: _interval(m, ours, before) for m in _measured(study)},
        by_run={m: _changes(m, ours, before).mean(1).tolist() for m in METRICS},
        coupling={k: float(np.mean([c[k] for c in couplings])) for k in couplings[0]},
        signal=_signal(ours),
        seconds=float(np.mean([run["seconds"]["train"] for run in ours])),
        perception_f1=float(np.mean([run["perception_f1"] for run in ours])),
        unreadable=sum(run["unreadable"] for run in ours),
    )


def _difference(
    study: Study,
    start: str,
    arm: str,
    minus: str,
    runs: Evaluations,
    pairs: list[tuple[dict[str, Any], dict[str, Any]]],
) -> Difference:
    ours, theirs = ([pair[i] for pair in pairs] for i in (0, 1))
    return Difference(
        start=start,
        arm=arm,
        minus=minus,
        runs=[study.label(run) for run in runs],
        figures={m: _interval(m, ours, theirs) for m in METRICS},
        by_run={m: _changes(m, ours, theirs).mean(1).tolist() for m in METRICS},
    )


def _measured(study: Study) -> list[str]:
    greedy = [f"greedy {metric}" for metric in METRICS] if study.samples else []
    return [*METRICS, *greedy, *((f"a_p {KNOWN}", f"a_p {NEW}") if study.known else ())]


def _interval(
    measure: str, ours: list[dict[str, Any]], base: list[dict[str, Any]] | None
) -> Interval:
    """Mean over runs and pictures, or of paired changes, by the bootstrap over both. It has no
    width where all are right or wrong, so that a mean's is at least Wilson's."""
    values = _right(ours, measure)
    if base is not None:
        return paired_difference(values, _right(base, measure))
    mean, low, high = paired_difference(values, np.zeros_like(values))
    _, floor, ceiling = wilson_interval(round(values.sum()), values.size)
    return Interval(mean, min(low, floor), max(high, ceiling))


def _changes(measure: str, ours: list[dict[str, Any]], base: list[dict[str, Any]] | None) -> Array:
    values = _right(ours, measure)
    return values if base is None else values - _right(base, measure)


def _right(runs: list[dict[str, Any]], measure: str) -> Array:
    """(runs, n): the part of the completions to each picture that are right."""
    metric, greedy = measure, measure.startswith("greedy ")
    kinds: tuple[str, ...] = (KNOWN, NEW)
    if greedy:
        metric = measure.removeprefix("greedy ")
    elif measure not in METRICS:
        metric, kind = measure.split()
        kinds = (kind,)

    def of_run(run: dict[str, Any]) -> Array:
        how = "sampled" if run["samples"] and not greedy else "greedy"
        digits = "".join(run["right"][kind][how][metric] for kind in kinds if kind in run["right"])
        return np.array([int(digit) for digit in digits]) / (
            run["samples"] if how == "sampled" else 1
        )

    return np.array([of_run(run) for run in runs])


def _signal(runs: list[dict[str, Any]]) -> dict[str, list[float | None]]:
    """Mean over the runs that have it, by thirds of the training."""

    def mean(values: tuple[float | None, ...]) -> float | None:
        known = [value for value in values if value is not None]
        return float(np.mean(known)) if known else None

    found = {}
    for name in dict.fromkeys(name for run in runs for name in run["signal"]):
        each = [run["signal"][name] for run in runs if name in run["signal"]]
        found[name] = [mean(third) for third in zip(*each, strict=True)]
    return found


def over_runs(values: list[float]) -> Interval | None:
    """Student's t interval of one value for each run; None for one run."""
    return t_interval(values) if len(values) > 1 else None


def points(interval: Interval, t: Interval | None) -> str:
    """A difference as ``+1.9 [+0.1, +3.7]* ±2.0``; the last part, by t, with two runs or more."""
    value, low, high = (100 * x for x in interval)
    shown = f"{value:+.1f} [{low:+.1f}, {high:+.1f}]{'*' if excludes_zero(interval) else ''}"
    if t is None:
        return shown
    return f"{shown} ±{100 * (t.high - t.value):.1f}{'†' if excludes_zero(t) else ''}"


def excludes_zero(interval: Interval) -> bool:
    """Whether a difference is significant by its interval."""
    return interval.low > 0 or interval.high < 0
