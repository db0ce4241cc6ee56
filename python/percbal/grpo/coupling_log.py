"""How the rewards of a run couple to perception and reasoning, for its log.

Every update of GRPO sees whole groups; their statistics are merged until the next log, so a log's
figures rest on all rollouts since the last one. docs/coupling.md says how to read them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from percbal.objective.advice import Advice, advise, expected_speed
from percbal.objective.measured import AGREEMENT, COUNTS, Measured, count_groups
from percbal_ops import CouplingStats


class CouplingLog:
    """Within-group correlations of every reward with perception and reasoning, and the conflicts.

    names: the rewards to follow, the outcome first.
    has_reasoning: whether true reasoning is measured.
    credit: that of the run, where it rewards what the theory knows; its speed is then foretold.
    """

    def __init__(self, names: list[str], *, has_reasoning: bool, credit: str | None = None) -> None:
        self.names, self.has_reasoning, self.credit = names, has_reasoning, credit
        self.advice: Advice | None = None  # of what was drained last
        self._reset()

    def _reset(self) -> None:
        self.stats = CouplingStats(len(self.names), reasoning=self.has_reasoning)
        self.counts = torch.zeros(COUNTS, dtype=torch.float64)  # later on the rewards' device
        self.empty = True

    def update(
        self, rewards: Tensor, perception: Tensor, reasoning: Tensor | None, group_size: int
    ) -> None:
        """Take in whole groups: rewards (R, C), perception and reasoning (R,)."""
        group = torch.arange(len(rewards), device=rewards.device) // group_size
        counts = count_groups(rewards[:, 0], perception, group, len(rewards) // group_size)
        self.counts = self.counts.to(counts.device) + counts
        self.stats.update(rewards, perception, reasoning, group)
        self.empty = False

    def drain(self, alpha: float = 0.0) -> dict[str, float]:
        """The figures since the last call, those that exist, and begin anew. alpha: of the run."""
        if self.empty:
            return {}
        summary = self.stats.summary()
        figures = {
            f"coupling/r_{name}_perception": float(summary.perception.within.r[i])
            for i, name in enumerate(self.names)
        }
        if summary.reasoning is not None:
            figures[f"coupling/r_{self.names[0]}_reasoning"] = float(summary.reasoning.within.r[0])
        figures["coupling/conflict_rate"] = float(summary.signal.conflict_rate[0])
        figures["coupling/silent_groups"] = float(summary.signal.silent_groups[0])
        agreement = self.names.index(AGREEMENT) if AGREEMENT in self.names else None
        found = Measured.of(self.stats, 0, self.counts, agreement)
        self.advice = advise(found)
        figures["coupling/mostly_wrong"] = found.mostly_wrong
        foretold = {"coupling/margin": self.advice.margin}
        if self.credit is not None:
            foretold["coupling/expected_speed"] = expected_speed(found, self.credit, alpha)
        figures |= {name: value for name, value in foretold.items() if value is not None}
        self._reset()
        return {name: value for name, value in figures.items() if math.isfinite(value)}


def within_group(a: Tensor, b: Tensor, group_size: int) -> tuple[float, float, float]:
    """Within-group correlation of two rewards (R,) and their within-group standard deviations.

    NaN where fewer than two rollouts of any group have both, or a reward never differs.
    """
    both = torch.stack((a, b)).double().view(2, -1, group_size)  # (2, G, size of a group)
    both = both.masked_fill(both.isnan().any(0), torch.nan)
    centred = both - both.nanmean(-1, keepdim=True)
    (aa, ab), (_, bb) = torch.einsum(
        "ipg,jpg->ij", centred.nan_to_num(0.0), centred.nan_to_num(0.0)
    ).tolist()
    n = int((~centred[0].isnan()).sum())
    if n == 0 or aa <= 0 or bb <= 0:
        return math.nan, math.nan, math.nan
    return ab / math.sqrt(aa * bb), math.sqrt(aa / n), math.sqrt(bb / n)
