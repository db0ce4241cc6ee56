"""What `percbal.objective.advice` needs to know of a policy's rollouts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from percbal_ops.coupling import RewardCoupling


@dataclass(frozen=True)
class Measured:
    """NaN for what is not known.

    a, a_p: accuracies of answers and of perceptions.
    after_right: of the answers after a right perception.
    r, r_low, r_high: within-group correlation of outcome and perception, with its interval.
    silent: share of groups whose outcomes are all equal while their perceptions differ.
    mostly_wrong: share of groups in which more than half of the rollouts perceive wrongly.
    a_r: accuracy from the true perception, which a diagnosis measures and rollouts do not show.
    """

    a: float
    a_p: float
    after_right: float
    r: float
    r_low: float = math.nan
    r_high: float = math.nan
    silent: float = math.nan
    mostly_wrong: float = math.nan
    a_r: float | None = None

    @classmethod
    def of(cls, found: RewardCoupling, i: int, **more: Any) -> Measured:
        """Of candidate i, an outcome of 0 and 1; more: ``mostly_wrong``, ``a_r``."""
        one, signal = found.perception, found.signal
        a, a_p, lucky = (
            float(values[i]) for values in (one.outcome_mean, one.target_mean, one.wrong_success)
        )
        varied = float(one.within.groups[i]) / max(1.0, float(signal.groups[i]))
        return cls(
            a=a,
            a_p=a_p,
            after_right=a * (1 - lucky) / a_p if a_p > 0 else math.nan,
            r=float(one.within.r[i]),
            r_low=float(one.within.low[i]),
            r_high=float(one.within.high[i]),
            silent=max(0.0, varied - 1 + float(signal.silent_groups[i])),
            **more,
        )

    @property
    def q(self) -> float:
        """The accuracy of reasoning that the theory asks for: a_r, or what stands for it."""
        return self.after_right if self.a_r is None else self.a_r


def mostly_wrong(
    perception: Tensor, group: Tensor, groups: int, right_at: float = 1.0
) -> tuple[Tensor, Tensor]:
    """How many groups have more wrong perceptions than right ones, and how many have any.

    perception: (R,), NaN = not scored; group: (R,) int64 in [0, groups). Returns two () tensors on
    the device of ``perception``, without waiting for it.
    """
    scored = (~perception.isnan()).double()
    wrong = (perception < right_at).double()
    zeros = torch.zeros(groups, dtype=torch.float64, device=perception.device)
    of_all, of_wrong = (zeros.index_add(0, group, values) for values in (scored, wrong))
    return (2 * of_wrong > of_all).sum(), (of_all > 0).sum()
