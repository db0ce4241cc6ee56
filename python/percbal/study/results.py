"""The numbers of a study: per arm, per seed, and in pairs against the first arm."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from percbal.evaluate.diagnose import METRICS
from percbal.evaluate.intervals import Interval, paired_difference, t_interval, wilson_interval
from percbal.study.arm import run_directory
from percbal.study.presets import Study

MEANING = {
    "a": "end-to-end accuracy: the answer from the image is right",
    "a_p": "perception accuracy: the perceived grid in that response is exactly right",
    "a_r": "reasoning accuracy: the answer is right when the true grid is given",
}

# how the tables of all studies show a difference
INTERVALS = (
    "After ± half of Student's 95% t interval over seeds, which needs two. * marks a difference "
    "whose bootstrap interval is without 0, † one whose t interval is. Only one with both marks "
    "is called significant: with few seeds the bootstrap covers the variation between runs too "
    "narrowly, and t says nothing of the choice of instances."
)


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

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read the JSON that ``to_dict`` went into."""
        fields = json.loads(path.read_text())
        fields["seeds"] = tuple(fields["seeds"])
        arms = []
        for arm in fields.pop("arms"):
            for name in ("accuracy", "difference"):
                arm[name] = arm[name] and {m: Interval(*arm[name][m]) for m in METRICS}
            arms.append(ArmResult(**arm))
        return cls(arms=arms, **fields)

    def table(self) -> str:
        """Markdown: accuracies, and below them differences to the first arm, in points."""
        rows = [["", *METRICS]]
        for arm in self.arms:
            rows.append([arm.name, *(_percent(arm.accuracy[m]) for m in METRICS)])
        for arm in self.arms[1:]:
            name = f"{arm.name} minus {self.arms[0].name}"
            rows.append([name, *(self.points(arm, m) for m in METRICS)])
            rows.append(["- by seed", *(self._seed_differences(arm, m) for m in METRICS)])
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        rows.insert(1, ["-" * width for width in widths])
        return "\n".join(
            f"| {' | '.join(cell.ljust(w) for cell, w in zip(row, widths, strict=True))} |"
            for row in rows
        )

    def points(self, arm: ArmResult, metric: str) -> str:
        """An arm's difference to the first one with both intervals and their marks."""
        assert arm.difference is not None
        return points(arm.difference[metric], self.over_seeds(arm, metric))

    def over_seeds(self, arm: ArmResult, metric: str) -> Interval | None:
        """Student's t interval of an arm's difference to the first one; None for one seed."""
        return t_interval(self._by_seed(arm, metric)) if len(self.seeds) > 1 else None

    def _by_seed(self, arm: ArmResult, metric: str) -> list[float]:
        pairs = zip(arm.by_seed[metric], self.arms[0].by_seed[metric], strict=True)
        return [ours - base for ours, base in pairs]

    def _seed_differences(self, arm: ArmResult, metric: str) -> str:
        return ", ".join(f"{100 * change:+.1f}" for change in self._by_seed(arm, metric))

    def note(self) -> str:
        """How to read the intervals."""
        return (
            f"Percent, greedy decoding, {self.instances} held-out instances, seeds "
            f"{', '.join(map(str, self.seeds))}. In brackets 95% intervals, by a bootstrap over "
            "instances and seeds, for accuracies at least as wide as Wilson's; differences are "
            f"paired. {INTERVALS} With two seeds t is 12.7, and the interval is so wide "
            "that hardly any difference is significant: look at every seed."
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


def points(interval: Interval, over_seeds: Interval | None) -> str:
    """A difference as ``+1.9 [+0.1, +3.7]* ±2.0``; the last part with two seeds or more."""
    value, low, high = (100 * x for x in interval)
    shown = f"{value:+.1f} [{low:+.1f}, {high:+.1f}]{'*' if excludes_zero(interval) else ''}"
    if over_seeds is None:
        return shown
    half = 100 * (over_seeds.high - over_seeds.value)
    return f"{shown} ±{half:.1f}{'†' if excludes_zero(over_seeds) else ''}"


def excludes_zero(interval: Interval) -> bool:
    """Whether a difference is significant by its interval."""
    return interval.low > 0 or interval.high < 0


def _percent(interval: Interval) -> str:
    value, low, high = (100 * x for x in interval)
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"
