"""The numbers of an RL study: each arm against the start that it went on from."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from percbal.evaluate.diagnose import METRICS
from percbal.evaluate.intervals import Interval, paired_difference, t_interval
from percbal.study.results import INTERVALS, points
from percbal.study.rl_arm import HELD_OUT, arm_directory
from percbal.study.rl_presets import RLStudy

Array = NDArray[np.float64]


@dataclass(frozen=True)
class RLRow:
    """One arm from one start, over the seeds that are there.

    Changes against the start; for the start its values.
    """

    start: str
    arm: str
    seeds: list[int]
    sampled: dict[str, Interval]  # metric -> change at temperature 1
    greedy: dict[str, Interval]
    a_p: dict[str, Interval]  # sampled, on pictures of known and of new grids alone
    by_seed: dict[str, list[float]]  # sampled metric -> one change per seed
    coupling: dict[str, float]  # after training, mean over seeds
    signal: dict[str, list[float]]  # reward -> within-group r with perception, by thirds
    seconds: float  # of training, mean


@dataclass(frozen=True)
class RLDifference:
    """Of two arms from one start, over the seeds that both have."""

    start: str
    arm: str
    minus: str
    seeds: list[int]
    sampled: dict[str, Interval]


@dataclass(frozen=True)
class RLResults:
    """A study's tables."""

    study: str
    instances: int  # pictures of known grids, and as many of new ones
    samples: int
    rows: list[RLRow]
    differences: list[RLDifference]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; intervals as [value, low, high]."""
        return asdict(self)

    @classmethod
    def load(cls, path: Path) -> RLResults:
        """Read the JSON that ``to_dict`` went into."""

        def of(kind: type, fields: dict[str, Any]) -> Any:
            for name in {"sampled", "greedy", "a_p"} & fields.keys():
                fields[name] = {key: Interval(*value) for key, value in fields[name].items()}
            return kind(**fields)

        fields = json.loads(path.read_text())
        rows = [of(RLRow, row) for row in fields.pop("rows")]
        differences = [of(RLDifference, pair) for pair in fields.pop("differences")]
        return cls(rows=rows, differences=differences, **fields)

    def row(self, start: str, arm: str) -> RLRow:
        """The row of an arm from a start."""
        return next(row for row in self.rows if (row.start, row.arm) == (start, arm))

    def by_seed(self, start: str, arm: str, minus: str, metric: str) -> list[float]:
        """Sampled, one difference of two arms for each seed that both have."""
        changes = [
            dict(zip(row.seeds, row.by_seed[metric], strict=True))
            for row in (self.row(start, arm), self.row(start, minus))
        ]
        ours, theirs = changes
        return [ours[seed] - theirs[seed] for seed in ours if seed in theirs]

    def over_seeds(self, pair: RLDifference, metric: str) -> Interval | None:
        """Student's t interval of a difference; None for one seed."""
        return _over_seeds(self.by_seed(pair.start, pair.arm, pair.minus, metric))

    def table(self) -> str:
        """Markdown: a table for each start."""
        lines = []
        for start in dict.fromkeys(row.start for row in self.rows):
            lines += ["", f"**Start: {start}**", ""]
            lines += [
                "| arm (seeds) | a | a_p | a_r | greedy a | greedy a_p | a_p known | a_p new | "
                "r(a, a_p) | r(a, own) | r(agree, a_p) | r(blind, a_p) |",
                "|---|---|---|---|---|---|---|---|---|---|---|---|",
            ]
            lines += [_line(row) for row in self.rows if row.start == start]
            pairs = [pair for pair in self.differences if pair.start == start]
            if pairs:
                lines += ["", "| difference (seeds) | a | a_p | a_r |", "|---|---|---|---|"]
                for pair in pairs:
                    cells = [points(pair.sampled[m], self.over_seeds(pair, m)) for m in METRICS]
                    name = f"{pair.arm} minus {pair.minus} ({len(pair.seeds)})"
                    lines.append(f"| {name} | {' | '.join(cells)} |")
        return "\n".join(lines).strip()

    def note(self) -> str:
        """How to read it."""
        return (
            f"Points, {2 * self.instances} held-out pictures, {self.samples} samples each at "
            "temperature 1 unless greedy; the first row is the start itself, the others changes "
            "against it. Half of the pictures are of solution grids that training draws (known), "
            "half of grids that it does not (new). In brackets 95% intervals by a paired "
            f"bootstrap over instances and seeds. {INTERVALS} All seeds of a start share its one "
            "measurement, whose noise is in the brackets of a change and not after its ±; in the "
            "difference of two arms it cancels. One interval in twenty excludes 0 by chance. "
            "r(a, a_p), r(a, own): pooled correlation of the outcome with perception, and with the "
            "answer being right for what "
            "was perceived, over the samples after training. r(agree, a_p), r(blind, a_p): "
            "within-group correlation of the surrogate with true perception in the first, middle "
            "and last third of training."
        )


def collect(study: RLStudy, root: Path) -> RLResults:
    """Read the evaluations that are there; an arm without any has no row."""
    rows, differences = [], []
    for start in (arm.name for arm in study.starts.arms):
        base = _read(root, start, "start", study.seeds[0])
        if base is None:
            continue
        rows.append(_row(start, "start", {study.seeds[0]: base}, None))
        found = {arm.name: _runs(study, root, start, arm.name) for arm in study.arms}
        rows += [_row(start, arm, runs, base) for arm, runs in found.items() if runs]
        for arm, minus in study.compared:
            seeds = [seed for seed in found[arm] if seed in found[minus]]
            if seeds:
                ours, theirs = ([found[name][seed] for seed in seeds] for name in (arm, minus))
                sampled = {
                    metric: paired_difference(
                        _values(ours, "sampled", metric), _values(theirs, "sampled", metric)
                    )
                    for metric in METRICS
                }
                differences.append(RLDifference(start, arm, minus, seeds, sampled))
    return RLResults(study.name, study.test_instances, study.samples, rows, differences)


def _runs(study: RLStudy, root: Path, start: str, arm: str) -> dict[int, dict[str, Any]]:
    """The evaluations of an arm that are there, by seed."""
    found = {seed: _read(root, start, arm, seed) for seed in study.seeds}
    return {seed: run for seed, run in found.items() if run is not None}


def _read(root: Path, start: str, arm: str, seed: int) -> dict[str, Any] | None:
    path = arm_directory(root, start, arm, seed) / "evaluation.json"
    if not path.is_file():
        return None
    run: dict[str, Any] = json.loads(path.read_text())
    if "samples" not in run:
        raise ValueError(f"{path} was written by an older version; choose another --name")
    return run


def _row(
    start: str,
    arm: str,
    runs: dict[int, dict[str, Any]],
    base: dict[str, Any] | None,
) -> RLRow:
    def changes(how: str, metric: str, *puzzles: str) -> tuple[Array, Array]:
        """Of each instance, (runs, n), and as many to take away."""
        ours = _values(list(runs.values()), how, metric, *puzzles)
        if base is None:
            return ours, np.zeros_like(ours)
        return ours, np.tile(_values([base], how, metric, *puzzles), (len(runs), 1))

    def intervals(how: str) -> dict[str, Interval]:
        return {m: paired_difference(*changes(how, m)) for m in METRICS}

    couplings = [run["coupling"] for run in runs.values()]
    return RLRow(
        start=start,
        arm=arm,
        seeds=list(runs),
        sampled=intervals("sampled"),
        greedy=intervals("greedy"),
        a_p={p: paired_difference(*changes("sampled", "a_p", p)) for p in HELD_OUT},
        by_seed={m: np.subtract(*changes("sampled", m)).mean(1).tolist() for m in METRICS},
        coupling={k: float(np.mean([c[k] for c in couplings])) for k in couplings[0]},
        signal=_signal(list(runs.values())),
        seconds=float(np.mean([run["seconds"]["train"] for run in runs.values()])),
    )


def _values(runs: list[dict[str, Any]], how: str, metric: str, *puzzles: str) -> Array:
    """(runs, n) of each instance, the mean of its samples; of all puzzles if none are named."""

    def of_run(run: dict[str, Any]) -> Array:
        right = "".join(run[p][how][metric] for p in puzzles or HELD_OUT)
        return np.array([int(digit) for digit in right]) / (
            run["samples"] if how == "sampled" else 1
        )

    return np.array([of_run(run) for run in runs])


def _signal(runs: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Mean over the runs, by thirds of the training."""
    names = dict.fromkeys(name for run in runs for name in run["signal"])
    return {
        name: np.mean([run["signal"][name] for run in runs if name in run["signal"]], 0).tolist()
        for name in names
    }


def _line(row: RLRow) -> str:
    if row.arm == "start":
        name, cells = "start", [_value(row.sampled[metric]) for metric in METRICS]
    else:
        name = f"{row.arm} ({len(row.seeds)})"
        cells = [points(row.sampled[m], _over_seeds(row.by_seed[m])) for m in METRICS]
    # of these there is no number for each seed
    others = [row.greedy["a"], row.greedy["a_p"], row.a_p["known"], row.a_p["new"]]
    cells += [_value(x) if row.arm == "start" else points(x, None) for x in others]
    cells += [f"{row.coupling['pooled_perception']:.2f}", f"{row.coupling['pooled_reasoning']:.2f}"]
    for signal in ("group_agreement", "blind_reanswer"):
        thirds = row.signal.get(signal)
        cells.append(" ".join(f"{r:.2f}" for r in thirds) if thirds else "")
    return f"| {name} | {' | '.join(cells)} |"


def _value(interval: Interval) -> str:
    return f"{100 * interval.value:.1f}"


def _over_seeds(changes: list[float]) -> Interval | None:
    return t_interval(changes) if len(changes) > 1 else None
