"""What docs/theory.md says of every arm of a dose study, beside what was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from percbal.evaluate.intervals import wilson_interval
from percbal.objective.criterion import (
    Reward,
    chain_correlation,
    perception_share,
    segment_speed,
)
from percbal.study.doses import OUTCOME, STUDY, correlation
from percbal.study.lines import Line, results
from percbal.study.plan import START

DENSE = "dense"


@dataclass(frozen=True)
class Foretold:
    """An arm that pays perception tokens by a reward alone, from one start.

    r: within-group correlation of outcome and perception at the start. truth: of the reward with
    true perception, over the training. speed: (P9) at alpha 1, or (P11) for a dense reward, with
    the outcome arm as 1. seen: a of the arm minus that of the outcome arm.
    """

    start: str
    arm: str
    r: float
    truth: float
    speed: float
    seen: float

    @property
    def right(self) -> bool:
        """Whether the sign is the predicted one; no difference at all is not."""
        return (self.speed - 1) * self.seen > 0


def foretold(lines: Sequence[Line]) -> list[Foretold]:
    """Every arm of every start that was measured, where it has an outcome arm beside it."""
    runs = [line for line in results(lines) if line["study"] == STUDY and line["figures"]]
    of = {(line["start"], line["arm"]): line["figures"] for line in runs}
    found = []
    for line in runs:
        start, arm = line["start"], line["arm"]
        begins, beside = of.get((start, START)), of.get((start, OUTCOME))
        truth = correlation(line)
        if begins is None or beside is None or truth is None:
            continue
        r = _correlation_at(begins)
        p, q = begins["exact_p"], begins["a_r"]
        if r <= 0 or not 0 < p < 1 or not 0 < begins["a"] < 1:
            continue
        w = perception_share(begins["a"], p, q, r)
        # (P11): the dense reward's signal about the parts is 1 / corr(D, P) of the exact one's
        signal = 1 / truth if arm == DENSE and truth > 0 else truth
        speed = segment_speed(w, r, math.inf, Reward(signal, 0.0))
        found.append(Foretold(start, arm, r, truth, speed, line["figures"]["a"] - beside["a"]))
    return sorted(found, key=lambda each: (each.start, each.truth))


def _correlation_at(start: dict[str, float]) -> float:
    """Of outcome and perception within the samples of a picture, or else by (P2)."""
    return start.get("r_within_perception", chain_correlation(start["exact_p"], start["a_r"]))


def foretold_table(found: Sequence[Foretold]) -> str:
    """Markdown, with the hit rate; nothing without any."""
    if not found:
        return ""
    head = ["start", "reward of the perception tokens", "r with truth", "r of the outcome"]
    rows = [f"| {' | '.join([*head, 'speed', 'a minus outcome', 'sign'])} |"]
    rows.append("|---" * 7 + "|")
    for each in found:
        cells = [each.start, each.arm, f"{each.truth:.2f}", f"{each.r:.2f}", f"{each.speed:.2f}"]
        cells += [f"{100 * each.seen:+.1f}", "right" if each.right else "wrong"]
        rows.append(f"| {' | '.join(cells)} |")
    right = sum(each.right for each in found)
    low, high = wilson_interval(right, len(found))[1:]
    starts = len({each.start for each in found})
    return "\n".join(
        [
            "What [theory.md](theory.md) predicts: the speed at which a grows at first, with the "
            "outcome arm as 1, by (P9), for the dense reward by (P11).",
            "",
            *rows,
            "",
            f"Signs: {right} of {len(found)} right, 95% interval {low:.0%} to {high:.0%}; the arms "
            f"of one of the {starts} starts share it, so the interval is too narrow.",
        ]
    )
