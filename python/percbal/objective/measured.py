"""What `percbal.objective.advice` needs to know of a policy's rollouts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from percbal_ops.coupling import Correlation, CouplingStats

AGREEMENT = "group_agreement"  # the reward whose harm (P12) is about
FEWEST = 8  # groups, below which docs/coupling.md (C3) relies on no interval
COUNTS = 5  # numbers of `count_groups`


class Between(NamedTuple):
    """A within-group correlation, the ends of its interval, and the groups this rests on."""

    r: float
    low: float
    high: float
    groups: float

    @classmethod
    def of(cls, found: Correlation, i: int) -> Between:
        return cls(*(float(x[i]) for x in (found.r, found.low, found.high, found.groups)))

    @property
    def relied_on(self) -> bool:
        """Whether its interval rests on enough groups."""
        return self.groups >= FEWEST

    @property
    def told_from_zero(self) -> bool:
        return self.relied_on and (self.low > 0 or self.high < 0)


@dataclass(frozen=True)
class Measured:
    """NaN for what is not known.

    a, a_p: accuracies of answers and of perceptions.
    after_right: of the answers after a right perception.
    r, r_low, r_high: within-group correlation of outcome and perception, with its interval.
    groups: that the interval rests on.
    s_a, s_p: standard deviations of outcome and perception within groups, as of large ones.
    unsure: variance of the answers after a right perception, within groups.
    wrong_success: share of the right answers that follow a wrong perception.
    silent: share of groups whose outcomes are all equal while their perceptions differ. 0 where
        rewards are not divided by their group's own spread: (P5) and (P9) then count these groups.
    mostly_wrong: share of groups in which more than half of the rollouts perceive wrongly.
    agreement: of the reward `AGREEMENT` with true perception, if it was given.
    a_r: accuracy from the true perception, which a diagnosis measures and rollouts do not show.
    plasticity: how readily perception learns, relative to reasoning, as far as the losses' averages
        decide: k of (P4).
    """

    a: float
    a_p: float
    after_right: float
    r: float
    r_low: float = math.nan
    r_high: float = math.nan
    groups: float = math.nan
    s_a: float = math.nan
    s_p: float = math.nan
    unsure: float = math.nan
    wrong_success: float = math.nan
    silent: float = math.nan
    mostly_wrong: float = math.nan
    agreement: Between | None = None
    a_r: float | None = None
    plasticity: float = 1.0

    @classmethod
    def of(
        cls,
        stats: CouplingStats,
        i: int,
        counts: Tensor | None = None,
        agreement: int | None = None,
        **more: Any,
    ) -> Measured:
        """Of candidate i, an outcome of 0 and 1.

        counts: the sum of `count_groups` over the same groups. agreement: the candidate that it is.
        more: ``a_r``, ``plasticity``.
        """
        summary = stats.summary()
        one, signal = summary.perception, summary.signal
        a, a_p, lucky = (
            float(values[i]) for values in (one.outcome_mean, one.target_mean, one.wrong_success)
        )
        xx, _, yy = stats.within()[0, i].tolist()
        free = float(one.within.count[i] - one.pooled.groups[i])  # a group's mean costs one
        groups = float(one.within.groups[i])
        varied = groups / max(1.0, float(signal.groups[i]))
        wrong, scored, spread, right, paired = (
            [math.nan] * COUNTS if counts is None else counts.tolist()
        )
        return cls(
            a=a,
            a_p=a_p,
            after_right=a * (1 - lucky) / a_p if a_p > 0 else math.nan,
            r=float(one.within.r[i]),
            r_low=float(one.within.low[i]),
            r_high=float(one.within.high[i]),
            groups=groups,
            s_a=math.sqrt(xx / free) if free > 0 else math.nan,
            s_p=math.sqrt(yy / free) if free > 0 else math.nan,
            unsure=spread / right if paired >= FEWEST else math.nan,
            wrong_success=lucky,
            silent=max(0.0, varied - 1 + float(signal.silent_groups[i])),
            mostly_wrong=wrong / scored if scored > 0 else math.nan,
            agreement=None if agreement is None else Between.of(one.within, agreement),
            **more,
        )

    @property
    def q(self) -> float:
        """The accuracy of reasoning that the theory asks for: a_r, or what stands for it."""
        return self.after_right if self.a_r is None else self.a_r

    @property
    def spreads(self) -> tuple[float, float]:
        """s_a and s_p within groups; where they were not measured, those that r and the answers
        after right perceptions leave (P13)."""
        if not math.isnan(self.s_a):
            return self.s_a, self.s_p
        q = self.after_right
        if abs(self.r) == 1 or not 0 < q < 1:
            return math.sqrt(self.a * (1 - self.a)), math.sqrt(self.a_p * (1 - self.a_p))
        s_a = math.sqrt(self.a_p * q * (1 - q) / (1 - self.r**2))
        return s_a, self.r * s_a / q

    @property
    def c_p(self) -> float:
        """How steeply a grows with perception, (P1) and (P13)."""
        s_a, s_p = self.spreads
        return self.r * s_a * s_p

    @property
    def c_r(self) -> float:
        """How steeply a grows with reasoning, (P1) and (P13)."""
        if self.a_r is not None or math.isnan(self.s_a):
            return self.a_p * self.q * (1 - self.q)
        if math.isnan(self.unsure):
            return self.s_a**2 * (1 - self.r**2)
        return self.a_p * self.unsure


def count_groups(
    outcome: Tensor, perception: Tensor, group: Tensor, groups: int, right_at: float = 1.0
) -> Tensor:
    """What `CouplingStats` does not hold, (5,) float64 sums over groups, to be added up.

    Groups with more wrong perceptions than right ones, and groups with any; then of the groups with
    two or more answers after a right perception: the variance of these answers times their number,
    their number, and how many such groups there are.

    outcome, perception: (R,), NaN = not scored; group: (R,) int64 in [0, groups). On the device of
    ``perception``, without waiting for it.
    """
    answered = ((perception >= right_at) & ~outcome.isnan()).double()
    columns = (
        ~perception.isnan(),
        perception < right_at,
        answered,
        answered * outcome.nan_to_num(0.0),
        answered * outcome.nan_to_num(0.0) ** 2,
    )
    zeros = torch.zeros(groups, dtype=torch.float64, device=perception.device)
    scored, wrong, n, x, xx = (zeros.index_add(0, group, c.double()) for c in columns)
    paired = n > 1
    spread = n * (xx - x * x / n.clamp(min=1)).clamp(min=0) / (n - 1).clamp(min=1)
    sums = (2 * wrong > scored, scored > 0, spread * paired, n * paired, paired)
    return torch.stack([values.double().sum() for values in sums])
