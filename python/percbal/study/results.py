"""The numbers of a study: per arm, per seed, and in pairs against the first arm."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from percbal.evaluate.diagnose import METRICS
from percbal.evaluate.intervals import Interval, paired_difference, wilson_interval
from percbal.study.arm import run_directory
from percbal.study.presets import Study

MEANING = {
    "a": "end-to-end accuracy: the answer from the image is right",
    "a_p": "perception accuracy: the perceived grid in that response is exactly right",
    "a_r": "reasoning accuracy: the answer is right when the true grid is given",
}


@dataclass(frozen=True)
class ArmResult:
    """One arm over all seeds."""

    name: str
    accuracy: dict[str, Interval]  # metric -> mean over seeds and instances, 95% interval
    difference: dict[str, Interval] | None  # to the first arm, paired; None for that arm
    by_seed: dict[str, list[float]]  # metric -> one mean per seed
    perception_f1: float
    parse_failures: int
    seconds: list[float]  # of training, per seed


@dataclass(frozen=True)
class Results:
    """A study's table."""

    study: str
    seeds: tuple[int, ...]
    instances: int
    arms: list[ArmResult]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; intervals as [value, low, high]."""
        return asdict(self)

    def table(self) -> str:
        """For a terminal: accuracies, and below them differences to the first arm, in points."""
        rows = [["", *METRICS]]
        for arm in self.arms:
            rows.append([arm.name, *(_percent(arm.accuracy[m]) for m in METRICS)])
        base = self.arms[0].name
        rows.append([f"minus {base}", "", "", ""])
        for arm in self.arms[1:]:
            assert arm.difference is not None
            rows.append([f"  {arm.name}", *(_points(arm.difference[m]) for m in METRICS)])
            rows.append(["    by seed", *(self._seed_differences(arm, m) for m in METRICS)])
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = [
            "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows
        ]
        return "\n".join(line.rstrip() for line in lines) + "\n" + self.note()

    def _seed_differences(self, arm: ArmResult, metric: str) -> str:
        pairs = zip(arm.by_seed[metric], self.arms[0].by_seed[metric], strict=True)
        return ", ".join(f"{100 * (ours - base):+.1f}" for ours, base in pairs)

    def note(self) -> str:
        """How to read the intervals."""
        return (
            f"Percent, greedy decoding, {self.instances} held-out instances, seeds "
            f"{', '.join(map(str, self.seeds))}. In brackets 95% intervals, by a bootstrap over "
            "instances and seeds, for accuracies at least as wide as Wilson's; differences are "
            "paired. * marks a difference whose interval is without 0. With so few seeds the "
            "intervals cover the choice of instances well, that of seeds too narrowly: look at "
            "every seed."
        )


def collect(study: Study, root: Path) -> Results:
    """Read the diagnoses of a finished study."""
    outcomes = {
        arm.name: [_diagnosis(root, arm.name, seed) for seed in study.seeds] for arm in study.arms
    }
    base = outcomes[study.arms[0].name]
    return Results(
        study=study.name,
        seeds=study.seeds,
        instances=study.test_instances,
        arms=[
            _arm_result(name, runs, None if runs is base else base)
            for name, runs in outcomes.items()
        ],
    )


def _diagnosis(root: Path, arm: str, seed: int) -> dict[str, Any]:
    return json.loads((run_directory(root, arm, seed) / "diagnosis.json").read_text())


def _right(runs: list[dict[str, Any]], metric: str) -> NDArray[np.float64]:
    """(seeds, instances) of 0 and 1."""
    return np.array([[record[metric] for record in run["records"]] for run in runs], dtype=float)


def _arm_result(
    name: str, runs: list[dict[str, Any]], base: list[dict[str, Any]] | None
) -> ArmResult:
    right = {metric: _right(runs, metric) for metric in METRICS}
    return ArmResult(
        name=name,
        accuracy={m: _accuracy(right[m]) for m in METRICS},
        difference=None
        if base is None
        else {m: paired_difference(right[m], _right(base, m)) for m in METRICS},
        by_seed={m: right[m].mean(1).tolist() for m in METRICS},
        perception_f1=float(np.mean([run["perception_f1"] for run in runs])),
        parse_failures=sum(run["parse_failures"] for run in runs),
        seconds=[run["seconds"]["train"] for run in runs],
    )


def _accuracy(right: NDArray[np.float64]) -> Interval:
    """Mean of (seeds, instances). The bootstrap alone has no width at 0 and 1."""
    mean, low, high = paired_difference(right, np.zeros_like(right))
    _, floor, ceiling = wilson_interval(int(right.sum()), right.size)
    return Interval(mean, min(low, floor), max(high, ceiling))


def _percent(interval: Interval) -> str:
    value, low, high = (100 * x for x in interval)
    return f"{value:5.1f} [{low:4.1f}, {high:4.1f}]"


def _points(interval: Interval) -> str:
    value, low, high = (100 * x for x in interval)
    mark = "*" if low > 0 or high < 0 else " "
    return f"{value:+5.1f} [{low:+5.1f}, {high:+5.1f}]{mark}"
