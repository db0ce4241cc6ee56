"""What docs/theory.md says of every arm of a dose study, beside what was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from percbal.evaluate.intervals import wilson_interval
from percbal.objective.criterion import (
    Reward,
    chain_correlation,
    dense_factor,
    perception_share,
    segment_speed,
)
from percbal.study.doses import STUDY, correlation
from percbal.study.lines import Line, results
from percbal.study.plan import START

DENSE = "perception_f1"  # a reward
BESIDE = "outcome"  # the arm that the others are compared with


@dataclass(frozen=True)
class Foretold:
    """An arm that pays perception tokens by a reward alone, from one start.

    r: within-group correlation of outcome and perception at the start. truth: of the reward with
    true perception, over this very training. speed: (P9) at alpha 1, with the outcome arm as 1;
    for a dense reward with (P11), at most what its bound says. None where the theory says nothing:
    r is not above 0, or nothing, or all, is right at the start. seen: a of the arm minus that of
    the outcome arm.
    """

    start: str
    arm: str
    r: float
    truth: float
    speed: float | None
    seen: float

    @property
    def right(self) -> bool:
        """Whether the sign is the predicted one; no difference at all is not."""
        return self.speed is not None and (self.speed - 1) * self.seen > 0


def foretold(lines: Sequence[Line]) -> list[Foretold]:
    """Every arm of every start that was measured, where it has an outcome arm beside it."""
    runs = [line for line in results(lines) if line["study"] == STUDY and line["figures"]]
    of = {(line["start"], line["arm"]): line["figures"] for line in runs}
    found = []
    for line in runs:
        start, arm = line["start"], line["arm"]
        begins, beside = of.get((start, START)), of.get((start, BESIDE))
        truth = correlation(line)
        if begins is None or beside is None or truth is None:
            continue
        seen = line["figures"]["a"] - beside["a"]
        r = _correlation_at(begins)
        speed = _speed(begins, r, truth, line["reward"] == DENSE)
        found.append(Foretold(start, arm, r, truth, speed, seen))
    return sorted(found, key=lambda each: (each.start, each.truth))


def _correlation_at(start: dict[str, float]) -> float:
    """Of outcome and perception within the samples of a picture, or else by (P2)."""
    if "r_within_perception" in start:
        return start["r_within_perception"]
    p, q = start["exact_p"], start["a_r"]
    return chain_correlation(p, q) if p < 1 else math.nan


def _speed(start: dict[str, float], r: float, truth: float, dense: bool) -> float | None:
    p, q, a = start["exact_p"], start["a_r"], start["a"]
    if not (r > 0 and 0 < p < 1 and 0 < a < 1):
        return None
    if dense and truth > 0:  # its signal about the parts is 1 / corr(D, P) of the exact one's
        truth = min(1 / truth, dense_factor(p))
    return segment_speed(perception_share(a, p, q, r), r, math.inf, Reward(truth, 0.0))


def foretold_table(found: Sequence[Foretold]) -> str:
    """Markdown, with the hit rate; nothing without any."""
    if not found:
        return ""
    head = ["start", "reward of the perception tokens", "r with truth", "r of the outcome"]
    rows = [f"| {' | '.join([*head, 'speed', 'a minus outcome', 'sign'])} |"]
    rows.append("|---" * 7 + "|")
    for each in found:
        speed = "" if each.speed is None else f"{each.speed:.2f}"
        sign = "" if each.speed is None else "right" if each.right else "wrong"
        cells = [each.start, each.arm, f"{each.truth:.2f}", f"{each.r:.2f}", speed]
        rows.append(f"| {' | '.join([*cells, f'{100 * each.seen:+.1f}', sign])} |")
    return "\n".join(
        [
            "What [theory.md](theory.md) says of the speed at which a grows at first, with the "
            "outcome arm as 1: by (P9), for the dense reward with (P11). The correlations with "
            "truth are those of the training that is told of, so this is no forecast before it.",
            "",
            *rows,
            "",
            _tally(found),
        ]
    )


def _tally(found: Sequence[Foretold]) -> str:
    told = [each for each in found if each.speed is not None]
    if not told:
        return "The theory says nothing of these starts."
    right = sum(each.right for each in told)
    low, high = wilson_interval(right, len(told))[1:]
    starts = len({each.start for each in told})
    return (
        f"Signs: {right} of {len(told)} right, 95% interval {low:.0%} to {high:.0%}, of arms from "
        f"{starts} starts; arms of one start share it and its outcome arm, so the interval is too "
        f"narrow. Of {len(found) - len(told)} arms the theory says nothing."
    )
