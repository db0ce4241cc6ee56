"""What a registered study's lines say of each contrast: effect, interval, correction, verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from percbal.evaluate.intervals import Interval, t_interval
from percbal.study.doses import contrast_of_doses, log_odds
from percbal.study.lines import Line, results
from percbal.study.plan import START
from percbal.study.registration import LOG_ODDS, Contrast, Registration

REPRODUCED = "reproduced"
DIRECTION = "direction only"
NOT = "not reproduced"
REVERSED = "reversed"
CANNOT = "cannot be tested here"
NOT_YET = "not complete yet"
OWN = "no finding of the paper"
NO_START, TOO_FEW = "no start", "too few starts"
LEAST = 3  # differences that a p or a verdict needs
LEVEL = 0.05  # a p below it is significant


@dataclass(frozen=True)
class Effect:
    """Of one contrast.

    values: one difference for each start. sides: of two figures of one run, the mean of each.
    p: two-sided, of t; None for fewer than three starts.
    holm: corrected over the primary contrasts; one that is not complete counts there as 1.
    failed: starts without the competence. undefined: starts whose runs lack the figure, such as a
    correlation of what does not vary. planned: starts.
    family: whether all primary contrasts are complete, if this is one of them.
    """

    contrast: Contrast
    values: tuple[float, ...]
    failed: int
    undefined: int
    planned: int
    sides: tuple[float, float] | None = None
    p: float | None = None
    holm: float | None = None
    family: bool = True

    @property
    def interval(self) -> Interval | None:
        """Student's t; None where all are equal, so that nothing says how wide it is."""
        return t_interval(self.values) if len(set(self.values)) > 1 else None

    @property
    def mean(self) -> float | None:
        """Of the differences; None without any."""
        return sum(self.values) / len(self.values) if self.values else None

    @property
    def complete(self) -> bool:
        """Whether every planned start has its runs, or has failed."""
        return len(self.values) + self.failed + self.undefined >= self.planned > 0

    @property
    def settled(self) -> bool:
        """Whether no further line changes the verdict: what is significant while others of its
        family count as 1 stays so, and what is not may become so until they are complete."""
        return self.complete and (self.family or self.sign() in "+-")

    @property
    def counted(self) -> bool:
        """Whether tallies count it. A primary contrast waits for all of its family: before that
        one is settled by being significant, so that what is settled is no fair sample."""
        return self.complete and self.family

    @property
    def few(self) -> bool:
        """Whether fewer than half of the planned starts, or than three, have the difference."""
        return len(self.values) < max(LEAST, self.planned / 2)

    @property
    def as_good_as_0(self) -> bool:
        """Whether the interval, of a figure in points, lies within the margin."""
        margin, interval = self.contrast.margin, self.interval
        if interval is None or not self.contrast.in_points:
            return False
        return -margin < interval.low and interval.high < margin

    def sign(self) -> str:
        """``+`` or ``-`` where it is significant, else ``0`` if as good as that, else ``?``."""
        if self.p is None or self.mean is None:
            return "?"
        p = self.p if self.holm is None else self.holm
        if p < LEVEL:
            return "+" if self.mean > 0 else "-"
        return "0" if self.as_good_as_0 else "?"

    def verdict(self) -> str:
        """On the paper's finding, by rule; given when all that was planned is there."""
        if self.contrast.reason:
            return CANNOT
        if not self.settled:
            return NOT_YET
        if self.mean is None and not self.undefined:
            return NO_START
        if self.mean is None or self.few:
            return TOO_FEW
        if not self.contrast.finding or self.contrast.paper == "?":
            return OWN
        return self._against_the_paper(self.mean)

    def _against_the_paper(self, mean: float) -> str:
        sign, paper = self.sign(), self.contrast.paper
        if paper == "0":  # which a difference can be and be significant
            return REPRODUCED if self.as_good_as_0 else NOT
        if sign in "+-":
            return REPRODUCED if sign == paper else REVERSED
        same = mean > 0 if paper == "+" else mean < 0
        return DIRECTION if same and sign == "?" else NOT

    def foretold(self) -> str:
        """Whether the sign is the one that was predicted: yes, no, or open. Of a predicted 0,
        whether it is as good as that, significant or not."""
        predicted = self.contrast.predicted
        if not self.counted or self.few or predicted == "?":
            return "open"
        right = self.as_good_as_0 if predicted == "0" else self.sign() == predicted
        return "yes" if right else "no"


def effects(registration: Registration, lines: Sequence[Line]) -> list[Effect]:
    """Of every contrast, in order; ValueError for a line of another registration, or for runs of
    one name with two plans."""
    for line in lines:
        if line["registered"] != registration.hash:
            raise ValueError(
                f"a line of {line['study']} was run under {line['registered'] or 'nothing said'}, "
                f"not under {registration.name}, {registration.hash}"
            )
    runs = results(lines)
    found = [_effect(contrast, registration, runs) for contrast in registration.contrasts]
    return _corrected(found)


def _effect(contrast: Contrast, registration: Registration, runs: Sequence[Line]) -> Effect:
    values, sides, failed, undefined = [], [], 0, 0
    for lines in _compared(contrast, runs):
        if not all(line["figures"] for line in lines):
            failed += 1
            continue
        both = None
        if contrast.doses:
            value = contrast_of_doses(contrast, lines)
        else:
            both = _figures(contrast, *lines)
            value = both and _difference(contrast, *both)
        if value is None:
            undefined += 1
            continue
        values.append(value)
        if both and isinstance(contrast.against, str):
            sides.append(both)
    planned = registration.planned.get(contrast.study, {}).get("starts", 0)
    p = _p(values) if len(values) >= LEAST else None
    return Effect(contrast, tuple(values), failed, undefined, planned, _means(sides), p)


def _compared(contrast: Contrast, runs: Sequence[Line]) -> list[list[Line]]:
    """Of each start that has them all, the runs of the arms that the contrast names, in order."""
    arms = [arm for arm in (contrast.arm, contrast.minus) if arm]
    if contrast.doses:
        arms = [START, *contrast.doses]
    of: dict[tuple[str, int], dict[str, Line]] = {}
    for line in runs:
        if line["study"] == contrast.study:
            of.setdefault((line["start"], line["seed"]), {})[line["arm"]] = line
    return [[own[arm] for arm in arms] for own in of.values() if all(arm in own for arm in arms)]


def _means(sides: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    if not sides:
        return None
    ours, base = zip(*sides, strict=True)
    return sum(ours) / len(ours), sum(base) / len(base)


def _figures(
    contrast: Contrast, ours: Line, other: Line | None = None
) -> tuple[float, float] | None:
    """None where one is not there, such as a correlation of what does not vary."""
    value = ours["figures"].get(contrast.figure)
    base: float | None
    if other is not None:
        base = other["figures"].get(contrast.figure)
    elif isinstance(contrast.against, str):
        base = ours["figures"].get(contrast.against)
    else:
        base = contrast.against
    return None if value is None or base is None else (value, base)


def _difference(contrast: Contrast, value: float, base: float) -> float:
    if contrast.scale == LOG_ODDS:
        return log_odds(value) - log_odds(base)
    return value - base


def _p(values: Sequence[float]) -> float:
    """Two-sided, of Student's t against 0. Where all are equal t says nothing: by turning signs
    over, 2 of the 2^n ways are as far from 0."""
    from scipy import stats

    if len(set(values)) == 1:
        return 1.0 if values[0] == 0 else 2.0 ** (1 - len(values))
    return float(stats.ttest_1samp(values, 0.0).pvalue)


def _corrected(found: list[Effect]) -> list[Effect]:
    """With Holm's p of the primary contrasts.

    Those that are not complete count as 1 for the others. Holm's p falls with every p of its
    family, so that none becomes larger when they are.
    """
    primary = [effect for effect in found if effect.contrast.primary]
    family = all(effect.complete for effect in primary)

    def corrected(effect: Effect) -> float | None:
        if effect.p is None:
            return None
        known = [other.p if other.complete or other is effect else None for other in primary]
        ps = [1.0 if p is None else p for p in known]
        return holm(ps)[next(i for i, other in enumerate(primary) if other is effect)]

    return [
        replace(effect, holm=corrected(effect), family=family)
        if effect.contrast.primary
        else effect
        for effect in found
    ]


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's corrected p values, in the order of ``ps``: the smallest times n, the next times
    n - 1, .., none smaller than the one before (S. Holm, Scand. J. Statist. 6, 1979, 65-70)."""
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    out, least = [0.0] * len(ps), 0.0
    for rank, i in enumerate(order):
        least = max(least, min(1.0, (len(ps) - rank) * ps[i]))
        out[i] = least
    return out
