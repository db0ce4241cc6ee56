"""How the rewards of a run couple to perception and reasoning, for its log.

Every update of GRPO sees whole groups; their statistics are merged until the next log, so a log's
figures rest on all rollouts since the last one. Advice rests on more: on as many logs as it takes
for its groups. docs/coupling.md says how to read them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from percbal.objective.advice import Advice, advise, expected_speed
from percbal.objective.measured import AGREEMENT, COUNTS, Measured, count_groups
from percbal_ops import CouplingStats

LOOKED_AT = 32  # groups in which a reward differs, for one look at the advice


class _Seen:
    """Sums over some batches of rollouts."""

    def __init__(self, candidates: int, *, reasoning: bool) -> None:
        self.stats = CouplingStats(candidates, reasoning=reasoning)
        self.counts = torch.zeros(COUNTS, dtype=torch.float64)  # later on the rewards' device
        self.weighed = [0.0] * 4  # weight and tokens of perception, of all others
        self.empty = True

    def merge(self, other: _Seen) -> None:
        self.stats.merge(other.stats)
        self.counts = self.counts.to(other.counts.device) + other.counts
        self.weighed = [a + b for a, b in zip(self.weighed, other.weighed, strict=True)]

    @property
    def plasticity(self) -> float:
        """k of (P4) that the losses' averages make: 1 where every token counts alike."""
        weight, tokens, of_others, others = self.weighed
        if 0 in (tokens, of_others):
            return 1.0
        return weight * others / (of_others * tokens)


class CouplingLog:
    """Within-group correlations of every reward with perception and reasoning, and the conflicts.

    names: the rewards to follow, the outcome first.
    has_reasoning: whether true reasoning is measured.
    credit: that of the run, where it rewards what the theory knows; its speed is then foretold.
    own_spread: whether a group's rewards are divided by its own spread (``scale_rewards: group``).
    """

    def __init__(
        self,
        names: list[str],
        *,
        has_reasoning: bool,
        credit: str | None = None,
        own_spread: bool = True,
    ) -> None:
        self.names, self.has_reasoning, self.credit = names, has_reasoning, credit
        self.own_spread = own_spread
        self._agreement = names.index(AGREEMENT) if AGREEMENT in names else None
        self.advice: Advice | None = None  # of the rollouts since the last one; often too few
        self._since, self._looked_at = self._nothing(), self._nothing()

    def _nothing(self) -> _Seen:
        return _Seen(len(self.names), reasoning=self.has_reasoning)

    def update(
        self, rewards: Tensor, perception: Tensor, reasoning: Tensor | None, group_size: int
    ) -> None:
        """Take in whole groups: rewards (R, C), perception and reasoning (R,)."""
        group = torch.arange(len(rewards), device=rewards.device) // group_size
        groups = len(rewards) // group_size
        counts = count_groups(rewards[:, 0], perception, group, groups)
        self._since.counts = self._since.counts.to(counts.device) + counts
        self._since.stats.update(rewards, perception, reasoning, group)
        self._since.empty = False

    def weigh(self, weights: Sequence[float], tokens: Sequence[float], perception: int) -> None:
        """A batch's loss is the sum of ``weights`` times the segments' means over ``tokens``.

        perception: the number of its segment. Without a call every token counts alike.
        """
        of, n = weights[perception], tokens[perception]
        one = (of, n, sum(weights) - of, sum(tokens) - n)
        self._since.weighed = [a + b for a, b in zip(self._since.weighed, one, strict=True)]

    @property
    def plasticity(self) -> float:
        """k of (P4) that the losses' averages have made since the last `drain`."""
        return self._since.plasticity

    def drain(self, alpha: float = 0.0) -> dict[str, float]:
        """The figures since the last call, those that exist, and begin anew. alpha: of the run."""
        self.advice = None
        if self._since.empty:
            return {}
        summary = self._since.stats.summary()
        figures = {
            f"coupling/r_{name}_perception": float(summary.perception.within.r[i])
            for i, name in enumerate(self.names)
        }
        if summary.reasoning is not None:
            figures[f"coupling/r_{self.names[0]}_reasoning"] = float(summary.reasoning.within.r[0])
        figures["coupling/conflict_rate"] = float(summary.signal.conflict_rate[0])
        figures["coupling/silent_groups"] = float(summary.signal.silent_groups[0])
        found = self._measured(self._since)
        figures["coupling/wrong_success"] = found.wrong_success
        figures["coupling/mostly_wrong"] = found.mostly_wrong
        foretold = {"coupling/margin": advise(found).margin}
        if self.credit is not None:
            foretold["coupling/expected_speed"] = expected_speed(found, self.credit, alpha)
        figures |= {name: value for name, value in foretold.items() if value is not None}
        self._looked_at.merge(self._since)
        self._since = self._nothing()
        enough = self._measured(self._looked_at)
        if enough.groups >= LOOKED_AT:
            self.advice, self._looked_at = advise(enough), self._nothing()
        return {name: value for name, value in figures.items() if math.isfinite(value)}

    def _measured(self, seen: _Seen) -> Measured:
        found = Measured.of(seen.stats, 0, seen.counts, self._agreement, plasticity=seen.plasticity)
        return found if self.own_spread else replace(found, silent=0.0)


def within_group(a: Tensor, b: Tensor, group_size: int) -> tuple[float, float, float]:
    """Within-group correlation of two rewards (R,) and their within-group standard deviations.

    NaN where fewer than two rollouts of any group have both, or a reward never differs.
    """
    group = torch.arange(len(a), device=a.device) // group_size
    aa, ab, bb = CouplingStats(1).update(a, b, None, group).within()[0, 0].tolist()
    if aa <= 0 or bb <= 0:
        return math.nan, math.nan, math.nan
    n = int((~(a.isnan() | b.isnan())).sum())
    return ab / math.sqrt(aa * bb), math.sqrt(aa / n), math.sqrt(bb / n)
