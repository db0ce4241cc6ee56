"""What docs/theory.md says of every arm of a dose study, beside what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from percbal.objective.criterion import dense_factor, kept_signal
from percbal.study.doses import NOISY, STUDY, TRUTH, correlation, gain
from percbal.study.figure_names import AFTER
from percbal.study.lines import Line, results
from percbal.study.plan import START
from percbal.study.presets import PRESETS

DENSE, AGREEMENT = "perception_f1", "group_agreement"  # rewards
BESIDE = "outcome"  # the arm that the others are compared with
GROUP = PRESETS[STUDY].grpo.group  # rollouts
NO_SIGN = 0.05  # a ratio that is nearer to 1 foretells no sign
SEEN = {"early": "a_p early", "end": "a_p at the end", "a": "a at the end"}


@dataclass(frozen=True)
class Foretold:
    """An arm that pays perception tokens by a ``reward`` alone, from one start.

    r, outcome: within-group correlations with true perception in the warm-up, of the arm's reward
    and of the outcome in the outcome arm. ratio: how fast perception learns at first, with the
    outcome arm as 1: (P3) for each reward, ``r / outcome``; for a dense one (P11). By (P9) answers
    then learn faster, too, where it is above 1. None where the theory says nothing. plain: the same
    for plain gradient steps, in groups as small as they are (P14).
    seen: the arm minus the outcome arm: ``early`` and ``end``, in the log-odds of exact a_p after
    the first updates at which it was measured and at the end; ``a``, a at the end.
    """

    start: str
    arm: str
    reward: str
    r: float
    outcome: float
    ratio: float | None
    plain: float | None
    seen: dict[str, float]

    def right(self, what: str, *, plain: bool = False) -> bool | None:
        """Whether the sign is the predicted one; no difference at all is not. None where nothing is
        foretold, or it was not measured."""
        ratio = self.plain if plain else self.ratio
        if ratio is None or abs(ratio - 1) < NO_SIGN or what not in self.seen:
            return None
        return (ratio - 1) * self.seen[what] > 0


def foretold(lines: Sequence[Line]) -> list[Foretold]:
    """Every arm of every start that was measured, where it has an outcome arm beside it."""
    runs = [line for line in results(lines) if line["study"] == STUDY and line["figures"]]
    of = {(line["start"], line["arm"]): line for line in runs}
    found = []
    for line in runs:
        before, beside = of.get((line["start"], START)), of.get((line["start"], BESIDE))
        if line["arm"] in (START, BESIDE) or before is None or beside is None:
            continue
        r, outcome = correlation(line), correlation(beside)
        if r is None or outcome is None:
            continue
        ratio, plain = _ratio(line, r, outcome, before["figures"])
        seen = _seen(line, beside, before)
        found.append(
            Foretold(line["start"], line["arm"], line["reward"], r, outcome, ratio, plain, seen)
        )
    return sorted(found, key=lambda each: (each.start, each.r))


Ratios = tuple[float | None, float | None]


def _ratio(line: Line, r: float, outcome: float, start: dict[str, float]) -> Ratios:
    """With Adam, which divides the size of the signal out, and for plain steps."""
    p, a, reward = start["exact_p"], start["a"], line["reward"]
    if outcome <= 0 or r <= 0 or not (0 < p < 1 and 0 < a < 1) or reward == AGREEMENT:
        return None, None  # agreement pays part by part, as dense does, and has no such formula
    if reward == DENSE:  # its signal about the parts, of which hardly a group is without any
        ratio, kept = min(1 / r, dense_factor(p)) / outcome, 1.0
    else:
        flips = line.get("flips", 0.0)
        rate = p * (1 - flips) + (1 - p) * flips if reward in (TRUTH, NOISY) else a
        ratio, kept = r / outcome, kept_signal(rate, GROUP)
    return ratio, ratio * kept / kept_signal(a, GROUP)


def _seen(line: Line, beside: Line, before: Line) -> dict[str, float]:
    after = [int(match[1]) for name in line["figures"] if (match := AFTER.fullmatch(name))]
    wanted = {"end": "exact_p"} | ({"early": f"exact_p_after.{min(after)}"} if after else {})
    found = {"a": line["figures"]["a"] - beside["figures"]["a"]}
    for what, figure in wanted.items():
        ours, theirs = gain(line, before, figure), gain(beside, before, figure)
        if ours is not None and theirs is not None:
            found[what] = ours - theirs
    return found
