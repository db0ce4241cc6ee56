"""How the rewards of a run couple to perception and reasoning, for its log.

Every update of GRPO sees whole groups; their statistics are merged until the next log, so a log's
figures rest on all rollouts since the last one. docs/coupling.md says how to read them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from percbal_ops import CouplingStats


class CouplingLog:
    """Within-group correlations of every reward with perception and reasoning, and the conflicts.

    names: the rewards to follow, the outcome first.
    has_reasoning: whether true reasoning is measured.
    """

    def __init__(self, names: list[str], *, has_reasoning: bool) -> None:
        self.names, self.has_reasoning = names, has_reasoning
        self._reset()

    def _reset(self) -> None:
        self.stats = CouplingStats(len(self.names), reasoning=self.has_reasoning)
        self.empty = True

    def update(
        self, rewards: Tensor, perception: Tensor, reasoning: Tensor | None, group_size: int
    ) -> None:
        """Take in whole groups: rewards (R, C), perception and reasoning (R,)."""
        group = torch.arange(len(rewards), device=rewards.device) // group_size
        self.stats.update(rewards, perception, reasoning, group)
        self.empty = False

    def drain(self) -> dict[str, float]:
        """The figures since the last call, those that exist, and begin anew."""
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
