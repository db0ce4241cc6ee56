"""From the sums of `CouplingStats` to the numbers a person reads: (C1) to (C13)."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from percbal_ops.coupling import library as coupling_library  # noqa: F401  defines the operators


@dataclass(frozen=True)
class Correlation:
    """A Pearson correlation and its interval; each () or (C,) float64."""

    r: Tensor  # NaN when a side is constant
    low: Tensor  # NaN with fewer than two groups that inform it
    high: Tensor
    count: Tensor  # rollouts with both values
    groups: Tensor  # groups the interval rests on
    echo: Tensor  # r if every success had the target right (C7), (C9); NaN unless binary


@dataclass(frozen=True)
class Coupled:
    """The outcome against one target; each () or (C,) float64."""

    pooled: Correlation  # over all rollouts (C1)
    within: Correlation  # group means removed: all that GRPO sees (C2)
    outcome_mean: Tensor
    target_mean: Tensor
    wrong_success: Tensor  # share of successes with the target wrong; NaN unless binary
    echo_ratio: Tensor  # r / echo, pooled (C8)


@dataclass(frozen=True)
class Signal:
    """What the policy gradient sees of the outcome, against perception; each () or (C,)."""

    conflict_rate: Tensor  # of rollouts with an advantage: right but -, or wrong but + (C12)
    conflict_share: Tensor  # of advantage mass, z-score form
    share_right: Tensor  # of advantage mass on right perception, z-score form (C13)
    share_wrong: Tensor
    share_right_centred: Tensor  # the same for the centred-only advantage
    share_wrong_centred: Tensor
    praised_wrong: Tensor  # of wrong-perception rollouts, those with a positive advantage
    blamed_right: Tensor  # of right-perception rollouts, those with a negative advantage
    silent_groups: Tensor  # share of groups whose advantages are all zero
    scored: Tensor  # rollouts with an outcome
    groups: Tensor  # groups with at least one


@dataclass(frozen=True)
class GroupTable:
    """Correlations of each group; NaN where a side is constant in it."""

    ids: Tensor  # (G,) int64
    correlation: Tensor  # (K, G) or (K, C, G) float64; K: perception, then reasoning
    count: Tensor  # the same shape, int64


@dataclass(frozen=True)
class RewardCoupling:
    """See docs/coupling.md for what each number means and when it says little."""

    perception: Coupled
    reasoning: Coupled | None
    signal: Signal
    groups: GroupTable | None

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and lists, NaN as None: ready for JSON."""
        return _plain(asdict(self))


def summarise(
    pair: Tensor,
    signal: Tensor,
    origin_outcome: Tensor,
    origin_target: Tensor,
    confidence: float,
    *,
    scalar: bool,
    groups: GroupTable | None = None,
) -> RewardCoupling:
    """pair (K, C, 40), signal (C, 17), origins (C,) and (K,), float64 on the CPU; scalar: one
    candidate, whose numbers are ()."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    of_pairs, of_signal = torch.ops.percbal.coupling_summary(
        pair, signal, origin_outcome, origin_target, confidence
    )
    if scalar:
        of_pairs, of_signal = of_pairs[..., 0], of_signal[..., 0]
    coupled = [_coupled(*numbers.unbind()) for numbers in of_pairs.unbind()]
    return RewardCoupling(
        coupled[0], coupled[1] if len(coupled) > 1 else None, Signal(*of_signal.unbind()), groups
    )


def _coupled(*numbers: Tensor) -> Coupled:
    return Coupled(Correlation(*numbers[:6]), Correlation(*numbers[6:12]), *numbers[12:])


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, Tensor):
        return _plain(value.tolist())
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and math.isnan(value) else value
