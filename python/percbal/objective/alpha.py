"""The weight of the perception reward: fixed, or as much as the measured coupling asks for.

The outcome reward already tells a policy something about its perception: within a group it
correlates with the perception reward by ``r``. Where ``r`` is high the outcome does the work and a
perception reward only restates it; where ``r`` is low, perception tokens follow noise. The rule
takes the least ``alpha`` for which ``R = alpha a_p + (1 - alpha) a`` correlates with ``a_p`` by
``target`` within groups, kept in a range that never silences either reward. math.md (M13).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


def least_alpha(r: float, std_outcome: float, std_perception: float, target: float) -> float:
    """(M13): the least alpha in [0, 1] for which the mixed reward correlates with perception by
    ``target``.

    r: within-group correlation of outcome and perception reward, in [-1, 1].
    std_outcome, std_perception: their within-group standard deviations, > 0.
    """
    share = target * math.sqrt(max(0.0, 1 - r * r) / (1 - target * target)) - r
    if share <= 0:
        return 0.0
    return share * std_outcome / (share * std_outcome + std_perception)


@dataclass
class FixedAlpha:
    """The same alpha throughout."""

    value: float

    def update(self, r: float, std_outcome: float, std_perception: float) -> None:
        """Nothing to learn."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        del state


class CouplingAlpha:
    """``least_alpha`` of running means, for the next batch: no batch sets its own reward.

    alpha: the value until something has been measured.
    target: the wanted correlation; sqrt(1/2) mixes two uncorrelated rewards equally.
    low, high: the range that alpha never leaves.
    decay: of the exponential means over batches. A batch in which no group tells both rewards
        apart does not change them.
    """

    def __init__(
        self, alpha: float, *, target: float = 0.7, low: float, high: float, decay: float = 0.9
    ) -> None:
        if not 0 < target < 1:
            raise ValueError(f"alpha_target must be between 0 and 1, got {target}")
        if not 0 <= low <= high <= 1:
            raise ValueError(
                f"alpha_min and alpha_max must be in order in [0, 1], got {low}, {high}"
            )
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be at least 0 and below 1, got {decay}")
        self.value = min(max(alpha, low), high)
        self.target, self.low, self.high, self.decay = target, low, high, decay
        self.means: list[float] | None = None  # of r and of the two standard deviations

    def update(self, r: float, std_outcome: float, std_perception: float) -> None:
        """Take in one batch's within-group figures."""
        seen = [r, std_outcome, std_perception]
        if not all(map(math.isfinite, seen)) or min(seen[1:]) <= 0:
            return
        old = self.means or seen
        self.means = [self.decay * a + (1 - self.decay) * b for a, b in zip(old, seen, strict=True)]
        mean_r, mean_a, mean_p = self.means
        alpha = least_alpha(mean_r, mean_a, mean_p, self.target)
        self.value = min(max(alpha, self.low), self.high)

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value, "means": self.means}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if "means" not in state:
            raise ValueError(
                "the checkpoint was not trained with alpha_rule='coupling': it holds no means of it"
            )
        self.value, self.means = state["value"], state["means"]
