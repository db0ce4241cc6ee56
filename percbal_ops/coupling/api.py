"""Reward coupling: what the outcome reward tells a policy about its perception.

docs/coupling.md defines every number, (C1) to (C13), and says how to read it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from percbal_ops.checks import check_is_number, check_not_negative, check_one_device
from percbal_ops.coupling import library as coupling_library  # noqa: F401  defines the operators
from percbal_ops.coupling.reference import PAIR_FIELDS, SIGNAL_FIELDS, WITHIN
from percbal_ops.coupling.summary import GroupTable, RewardCoupling, summarise

__all__ = [
    "CouplingStats",
    "GroupAdvantage",
    "GroupTable",
    "RewardCoupling",
    "group_advantage",
    "reward_coupling",
]

EPS = 1e-4  # what TRL adds to the standard deviation of a group


class GroupAdvantage(NamedTuple):
    """Of `group_advantage`: both of the shape of the rewards, float64 for float64 and wide
    integers, else float32."""

    scaled: Tensor
    centred: Tensor


def reward_coupling(
    outcome: Tensor,
    perception: Tensor,
    reasoning: Tensor | None = None,
    group: Tensor | None = None,
    *,
    right_at: float = 1.0,
    eps: float = EPS,
    confidence: float = 0.95,
    per_group: bool = False,
) -> RewardCoupling:
    """Correlations of rewards with perception and reasoning, and what the GRPO gradient sees.

    Args:
        outcome: (R,) rewards, or (R, C) candidate rewards to rank; float, integer or bool.
        perception, reasoning: (R,), the same dtypes. NaN anywhere = not scored: the rollout is left
            out of the numbers that need the missing value, and out of no other.
        group: (R,) integer, the prompt of each rollout, any ids in any order. None: every rollout
            is its own group, so that nothing is left within groups.
        right_at: perception counts as right from this value on.
        eps: added to the group's standard deviation in the z-score advantage.
        confidence: of the intervals, which take groups as the independent units.
        per_group: also return the correlations of each group.

    Returns float64 tensors on the CPU: () for an (R,) outcome, (C,) for an (R, C) one.
    Raises ValueError for wrong shapes, dtypes (complex ones) or devices, for rewards that are
    infinite or have infinite squares, for an ``eps`` that is negative or no number, a ``right_at``
    that is no number, and a ``confidence`` outside of (0, 1). The pooled correlation is
    ``torch.corrcoef(torch.stack([outcome, perception]))[0, 1]`` over the scored rollouts.
    """
    check_not_negative(eps=eps)
    check_is_number(right_at=right_at)
    outcome, perception, reasoning, group = _checked(outcome, perception, reasoning, group)
    matrix = outcome if outcome.dim() == 2 else outcome[:, None]
    origin_outcome = _origins(*matrix.unbind(1))
    origin_target = _origins(*(t for t in (perception, reasoning) if t is not None))
    sums = _sums(matrix, perception, reasoning, group, origin_outcome, origin_target, eps, right_at)
    scalar, table = outcome.dim() == 1, None
    if per_group:
        order, offsets, ids = _layout(group, len(matrix), matrix.device)
        correlation, count = torch.ops.percbal.group_coupling(
            matrix, perception, reasoning, order, offsets
        )
        if scalar:
            correlation, count = correlation[:, 0], count[:, 0]
        table = GroupTable(ids, correlation, count)
    return summarise(*sums, origin_outcome, origin_target, confidence, scalar=scalar, groups=table)


def group_advantage(
    reward: Tensor, group: Tensor | None = None, *, eps: float = EPS
) -> GroupAdvantage:
    """The GRPO advantages of every rollout, over rewards of its own group.

    reward: (R,) or (R, C), NaN = not scored; group: (R,) integer. Returns two tensors of the shape
    of ``reward``: ``scaled = (r - mean) / (std + eps)`` with the unbiased std (C11) and
    ``centred = r - mean`` (C10). Both are 0 in a group whose rewards are all equal, NaN where the
    reward is, and not finite in a group that has an infinite one. Of groups of two or more::

        mean, std = (torch.stack([f(reward[group == g]) for g in group])
                     for f in (torch.mean, torch.std))
        scaled, centred = (reward - mean) / (std + eps), reward - mean

    Raises ValueError for shapes, dtypes and devices that do not fit, and for a negative ``eps``.

    Sums are float64. A trainer that repeats TRL's float32 arithmetic bit for bit has other last
    digits, and small numbers for 0 where the rewards of a group are all equal.
    """
    check_not_negative(eps=eps)
    _check_columns(group, reward=reward)
    matrix = reward.detach().to(_sum_dtype(reward))
    matrix = matrix if matrix.dim() == 2 else matrix[:, None]
    order, offsets, _ = _layout(group, len(matrix), matrix.device)
    scaled, centred = torch.ops.percbal.group_advantage(matrix, order, offsets, eps)
    return GroupAdvantage(scaled.view(reward.shape), centred.view(reward.shape))


class CouplingStats:
    """A running estimate: small sums that batches, and ranks, add to one another.

    Give each `update` whole groups: a group split between two updates counts as two. Rollouts of
    the same prompt in a later update are a new group, as they are for GRPO. `pair` (K, C, 40) and
    `signal` (C, 17) are plain float64 sums about `origin`; `tensor()` holds all of them in one
    tensor to all-reduce. Sums about an origin far from the rewards lose digits: keep the default
    0 for rewards of order one, and give the typical value to others, the same on every rank.

    candidates: C, as in an (R, C) outcome; None: what ``origin_outcome`` has, else an (R,) outcome.
    reasoning: whether every update has one: two targets (K) instead of one.
    origin_outcome (C,) and origin_target (K,): finite numbers; eps, right_at as in
    `reward_coupling`. Raises ValueError where these contradict one another.
    """

    def __init__(
        self,
        candidates: int | None = None,
        *,
        reasoning: bool = False,
        origin_outcome: Tensor | None = None,
        origin_target: Tensor | None = None,
        eps: float = EPS,
        right_at: float = 1.0,
    ) -> None:
        if candidates is not None and candidates < 1:
            raise ValueError(f"candidates must be at least 1, got {candidates}")
        check_not_negative(eps=eps)
        check_is_number(right_at=right_at)
        self.scalar = candidates is None and origin_outcome is None
        self.origin_outcome = _origin(candidates, "candidate", origin_outcome=origin_outcome)
        self.origin_target = _origin(1 + reasoning, "target", origin_target=origin_target)
        self.eps, self.right_at = eps, right_at
        t, c = len(self.origin_target), len(self.origin_outcome)
        self.pair = torch.zeros(t, c, PAIR_FIELDS, dtype=torch.float64)
        self.signal = torch.zeros(c, SIGNAL_FIELDS, dtype=torch.float64)

    def update(
        self,
        outcome: Tensor,
        perception: Tensor,
        reasoning: Tensor | None = None,
        group: Tensor | None = None,
    ) -> CouplingStats:
        """Adds a batch of whole groups; the arguments of `reward_coupling`."""
        outcome, perception, reasoning, group = _checked(outcome, perception, reasoning, group)
        matrix = outcome if outcome.dim() == 2 else outcome[:, None]
        if (matrix.shape[1], 1 + (reasoning is not None)) != (
            len(self.origin_outcome),
            len(self.origin_target),
        ):
            raise ValueError(
                f"these statistics hold {len(self.origin_outcome)} candidates and "
                f"{len(self.origin_target)} targets, got {matrix.shape[1]} and "
                f"{1 + (reasoning is not None)}"
            )
        pair, signal = _sums(
            matrix,
            perception,
            reasoning,
            group,
            self.origin_outcome,
            self.origin_target,
            self.eps,
            self.right_at,
        )
        self.pair += pair
        self.signal += signal
        return self

    def merge(self, other: CouplingStats) -> CouplingStats:
        """Adds the sums of ``other``, which must have been made with the same arguments."""
        for name in ("origin_outcome", "origin_target", "eps", "right_at"):
            mine, theirs = getattr(self, name), getattr(other, name)
            same = torch.equal(mine, theirs) if isinstance(mine, Tensor) else mine == theirs
            if not same:
                raise ValueError(f"cannot merge statistics of different {name}: {mine}, {theirs}")
        return self.load_tensor(self.tensor() + other.tensor())

    def tensor(self) -> Tensor:
        """All sums, (K * C * 40 + C * 17,) float64: all-reduce it with SUM, then `load_tensor`."""
        return torch.cat([self.pair.flatten(), self.signal.flatten()])

    def load_tensor(self, sums: Tensor) -> CouplingStats:
        """Takes over the sums of `tensor()`, of this rank or of all of them added up."""
        size = self.pair.numel() + self.signal.numel()
        if sums.shape != (size,):
            raise ValueError(f"sums must be ({size},), got {tuple(sums.shape)}")
        pair, signal = sums.double().cpu().clone().split([self.pair.numel(), self.signal.numel()])
        self.pair, self.signal = pair.view_as(self.pair), signal.view_as(self.signal)
        return self

    def all_reduce(self, group: dist.ProcessGroup | None = None) -> CouplingStats:
        """Adds up the sums of all ranks of ``group``, on every one of them, in one small message.

        Call it on every rank, also on one that has added nothing, and on what was added since the
        last call: its result reduced again would count each rank's share once more. Counts come
        out exact, other sums to float64 rounding. Equal origins, eps and right_at are assumed.
        """
        sums = self.tensor()
        if dist.get_backend(group) == "nccl":
            sums = sums.cuda()
        dist.all_reduce(sums, group=group)
        return self.load_tensor(sums)

    def within(self) -> Tensor:
        """(K, C, 3) sums of squares, products and squares about the groups' own means (C2)."""
        return self.pair[..., WITHIN]

    def summary(self, confidence: float = 0.95) -> RewardCoupling:
        """The numbers of `reward_coupling` for everything added so far."""
        return summarise(
            self.pair,
            self.signal,
            self.origin_outcome,
            self.origin_target,
            confidence,
            scalar=self.scalar,
        )


def _sums(
    matrix: Tensor,
    perception: Tensor,
    reasoning: Tensor | None,
    group: Tensor | None,
    origin_outcome: Tensor,
    origin_target: Tensor,
    eps: float,
    right_at: float,
) -> tuple[Tensor, Tensor]:
    """pair (K, C, 40) and signal (C, 17) of a batch, on the CPU."""
    device = matrix.device
    tail = (origin_outcome.to(device), origin_target.to(device), eps, right_at)
    if group is None:
        order, offsets, _ = _layout(None, len(matrix), device)
        pair, signal = torch.ops.percbal.coupling_stats(
            matrix, perception, reasoning, order, offsets, *tail
        )
    else:
        pair, signal = torch.ops.percbal.coupling_stats_by_id(
            matrix, perception, reasoning, group, *tail
        )
    pair, signal = pair.cpu(), signal.cpu()
    if not math.isfinite((pair.sum() + signal.sum()).item()):
        columns = [c for c in (matrix, perception, reasoning) if c is not None]
        infinite = sum(int(c.isinf().sum()) for c in columns)
        largest = max(float(c.nan_to_num(0.0).abs().max()) for c in columns)
        raise ValueError(
            "rewards must be NaN (not scored) or finite, with finite squares, got "
            + (
                f"{infinite} infinite value{'s' * (infinite != 1)}"
                if infinite
                else f"{largest:g}, whose square is not"
            )
        )
    return pair, signal


def _layout(group: Tensor | None, rows: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    if group is not None:
        return torch.ops.percbal.group_layout(group.long())
    every = torch.arange(rows + 1, device=device)
    return every.new_empty(0, dtype=torch.int32), every, every[:-1]


def _origin(columns: int | None, of: str, **given: Tensor | None) -> Tensor:
    """(columns,) float64 on the CPU: a copy of the one that is given, else zeros."""
    ((name, origin),) = given.items()
    if origin is None:
        return torch.zeros(1 if columns is None else columns, dtype=torch.float64)
    if origin.dim() != 1 or len(origin) != (columns or max(len(origin), 1)):
        wanted = "C" if columns is None else columns
        shape = tuple(origin.shape)
        raise ValueError(f"{name} must be ({wanted},), a number for each {of}, got {shape}")
    if not origin.isfinite().all():
        raise ValueError(f"{name} must be finite, got {origin.tolist()}")
    return origin.detach().to("cpu", torch.float64, copy=True)


def _origins(*columns: Tensor) -> Tensor:
    """(columns,) float64 on the CPU: near the values, so that equal rewards give exact zeros."""
    return torch.tensor([_first_scored(column) for column in columns], dtype=torch.float64)


def _first_scored(column: Tensor) -> float:
    if len(column) and math.isfinite(first := column[0].item()):
        return first
    head = column[:1024]
    head = head[head.isfinite()]
    return head[0].item() if len(head) else 0.0


def _checked(
    outcome: Tensor, perception: Tensor, reasoning: Tensor | None, group: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    _check_columns(group, outcome=outcome, perception=perception, reasoning=reasoning)
    dtype = _sum_dtype(*(v for v in (outcome, perception, reasoning) if v is not None))
    return (
        outcome.detach().to(dtype),
        perception.detach().to(dtype),
        None if reasoning is None else reasoning.detach().to(dtype),
        None if group is None else group.long(),
    )


def _check_columns(group: Tensor | None, **rewards: Tensor | None) -> None:
    """The first of the rewards is (R,) or (R, C); all else is (R,)."""
    (first, matrix), *others = rewards.items()
    assert matrix is not None
    if matrix.dim() not in (1, 2):
        raise ValueError(f"{first} must be (R,) or (R, C), got {matrix.dim()} dims")
    if matrix.dim() == 2 and matrix.shape[1] == 0:
        raise ValueError(f"{first} needs at least one candidate, got {tuple(matrix.shape)}")
    rows = matrix.shape[0]
    for name, column in (*others, ("group", group)):
        if column is not None and column.shape != (rows,):
            raise ValueError(f"{name} must be ({rows},) like {first}, got {tuple(column.shape)}")
    check_one_device(**rewards, group=group)
    if group is not None and (
        group.is_floating_point() or group.is_complex() or group.dtype == torch.bool
    ):
        raise ValueError(f"group must hold integer ids, got {group.dtype}")


def _sum_dtype(*values: Tensor) -> torch.dtype:
    """What the kernels read: float32 holds every half, bfloat16, bool and small integer, and the
    sums are float64 in any case."""
    for v in values:
        if v.is_complex():
            raise ValueError(f"rewards must be real, got {v.dtype}")
    wide = any(v.dtype in (torch.float64, torch.int64, torch.int32) for v in values)
    return torch.float64 if wide else torch.float32
