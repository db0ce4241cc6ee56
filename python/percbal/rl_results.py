"""The numbers of an RL study: each arm against the start that it went on from."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from percbal.metrics import Interval, paired_difference
from percbal.rl_arm import arm_directory
from percbal.rl_presets import RLStudy

SAMPLED = ("a", "a_p", "a_r")
SIGNALS = ("outcome", "group_agreement", "blind_reanswer")


@dataclass(frozen=True)
class RLRow:
    """One arm from one start, over the seeds that are there."""

    start: str
    arm: str
    seeds: list[int]
    sampled: dict[str, Interval]  # metric -> change against the start; for the start its value
    greedy: dict[str, Interval]
    by_seed: dict[str, list[float]]  # sampled metric -> one change per seed
    coupling: dict[str, float]  # after training, mean over seeds
    signal: dict[str, list[float | None]]  # reward -> within-group r with perception, by thirds
    seconds: float  # of training, mean


@dataclass(frozen=True)
class RLResults:
    """A study's table."""

    study: str
    instances: int
    samples: int
    rows: list[RLRow]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; intervals as [value, low, high]."""
        return asdict(self)

    def table(self) -> str:
        """Markdown: a table for each start."""
        lines = []
        for start in dict.fromkeys(row.start for row in self.rows):
            lines += ["", f"**Start: {start}**", ""]
            lines += [
                "| arm (seeds) | sampled a | sampled a_p | sampled a_r | greedy a | "
                "r(a, a_p) | r(a, own) | r(agreement, a_p) | r(blind, a_p) |",
                "|---|---|---|---|---|---|---|---|---|",
            ]
            lines += [_line(row) for row in self.rows if row.start == start]
        return "\n".join(lines).strip() + "\n\n" + self.note()

    def note(self) -> str:
        """How to read it."""
        return (
            f"Points, {self.instances} held-out instances, {self.samples} samples each at "
            "temperature 1; the first row is the start itself, the others changes against it. In "
            "brackets 95% intervals by a paired bootstrap over instances and seeds, which with "
            "three seeds or fewer covers the variation between runs too narrowly; * excludes 0. "
            "r(a, a_p), r(a, own): pooled correlation of the outcome with perception, and with "
            "the answer being right for what was perceived, over the samples after training. "
            "r(agreement, a_p), r(blind, a_p): within-group correlation of the surrogate with true "
            "perception in the first, middle and last third of training."
        )


def collect(study: RLStudy, root: Path) -> RLResults:
    """Read the evaluations that are there; an arm without any has no row."""
    rows = []
    for start in (arm.name for arm in study.starts.arms):
        base = _read(root, start, "start", study.seeds[0])
        if base is None:
            continue
        rows.append(_row(start, "start", {study.seeds[0]: base}, None, root))
        for arm in study.arms:
            found = {seed: _read(root, start, arm.name, seed) for seed in study.seeds}
            runs = {seed: run for seed, run in found.items() if run is not None}
            if runs:
                rows.append(_row(start, arm.name, runs, base, root))
    return RLResults(study.name, study.test_instances, study.samples, rows)


def _read(root: Path, start: str, arm: str, seed: int) -> dict[str, Any] | None:
    path = arm_directory(root, start, arm, seed) / "evaluation.json"
    return json.loads(path.read_text()) if path.is_file() else None


def _row(
    start: str,
    arm: str,
    runs: dict[int, dict[str, Any]],
    base: dict[str, Any] | None,
    root: Path,
) -> RLRow:
    sampled, greedy, by_seed = {}, {}, {}
    for metric in SAMPLED:
        ours = np.array([np.mean(run["sampled"][metric], axis=1) for run in runs.values()])
        zero = (
            np.zeros_like(ours)
            if base is None
            else np.broadcast_to(np.mean(base["sampled"][metric], axis=1), ours.shape)
        )
        sampled[metric] = paired_difference(ours, zero)
        by_seed[metric] = (ours - zero).mean(1).tolist()
        best = np.array([run["greedy"][metric] for run in runs.values()])
        zero = np.zeros_like(best) if base is None else _like(base["greedy"][metric], best)
        greedy[metric] = paired_difference(best, zero)
    couplings = [run["coupling"] for run in runs.values()]
    return RLRow(
        start=start,
        arm=arm,
        seeds=list(runs),
        sampled=sampled,
        greedy=greedy,
        by_seed=by_seed,
        coupling={k: float(np.mean([c[k] for c in couplings])) for k in couplings[0]},
        signal=_signal(root, start, arm, list(runs)),
        seconds=float(np.mean([run["seconds"]["train"] for run in runs.values()])),
    )


def _like(values: list[float], shape: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.broadcast_to(np.array(values), shape.shape)


def _signal(root: Path, start: str, arm: str, seeds: list[int]) -> dict[str, list[float | None]]:
    """Mean logged correlation of each reward with perception in each third of the training."""
    logs = []
    for seed in seeds:
        path = arm_directory(root, start, arm, seed) / "history.json"
        if path.is_file():
            logs.append(json.loads(path.read_text()))
    found: dict[str, list[float | None]] = {}
    for name in SIGNALS:
        key = f"coupling/r_{name}_perception"
        series = [[entry[key] for entry in log if key in entry] for log in logs]
        series = [values for values in series if len(values) >= 3]
        if series:
            thirds = [[np.mean(part) for part in np.array_split(v, 3)] for v in series]
            found[name] = [float(value) for value in np.mean(thirds, axis=0)]
    return found


def _line(row: RLRow) -> str:
    show = _value if row.arm == "start" else _change
    cells = [show(row.sampled[metric]) for metric in SAMPLED] + [show(row.greedy["a"])]
    cells += [f"{row.coupling['pooled_perception']:.2f}", f"{row.coupling['pooled_reasoning']:.2f}"]
    for name in ("group_agreement", "blind_reanswer"):
        thirds = row.signal.get(name)
        cells.append(" ".join(f"{r:.2f}" for r in thirds) if thirds else "")
    name = row.arm if row.arm == "start" else f"{row.arm} ({len(row.seeds)})"
    return f"| {name} | {' | '.join(cells)} |"


def _value(interval: Interval) -> str:
    return f"{100 * interval.value:.1f}"


def _change(interval: Interval) -> str:
    value, low, high = (100 * x for x in interval)
    mark = "*" if low > 0 or high < 0 else ""
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]{mark}"
