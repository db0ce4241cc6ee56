"""The model behind docs/theory.md, rollout by rollout: no formula of that page is used here.

A rollout perceives rightly with probability p = sigmoid(u), and then answers rightly with
probability q = sigmoid(v); after a wrong perception the answer is wrong. Where prompts differ, each
has its own p and q, and u and v move alike for all. The advantages are those of the trainer's own
credit assignment.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from percbal.objective.credit import Credit, Scale, assign_credit
from percbal.objective.measured import Measured, count_groups
from percbal_ops import CouplingStats


class Rollouts(NamedTuple):
    """Whole groups: answer, perception and probability of each rollout, (R,) float64."""

    answer: Tensor
    perception: Tensor
    weight: Tensor
    group: int


def one_large_group(p: float, q: float, n: int = 20_000) -> Rollouts:
    """As a group becomes large: every share is what it is expected to be."""
    ranks = torch.arange(n)
    right, both = ((ranks < round(share * n)).double() for share in (p, p * q))
    return Rollouts(both, right, torch.full((n,), 1 / n, dtype=torch.float64), n)


def every_group(p: float, q: float, size: int) -> Rollouts:
    """Each group that can be, up to order, with its probability."""
    chances = [math.log(c) for c in (1 - p, p * (1 - q), p * q)]
    counts = [(i, j, size - i - j) for i in range(size + 1) for j in range(size + 1 - i)]
    rows: list[tuple[int, int]] = []
    weights: list[float] = []
    for parts in counts:
        ways = math.lgamma(size + 1) - sum(math.lgamma(n + 1) for n in parts)
        chance = math.exp(ways + sum(n * c for n, c in zip(parts, chances, strict=True)))
        for kind, n in zip(((0, 0), (0, 1), (1, 1)), parts, strict=True):
            rows += [kind] * n
        weights += [chance / size] * size
    answer, perception = torch.tensor(rows, dtype=torch.float64).unbind(1)
    return Rollouts(answer, perception, torch.tensor(weights, dtype=torch.float64), size)


def of_prompts(kinds: list[Rollouts]) -> Rollouts:
    """Prompts that differ, each kind as common as the others."""
    columns = list(zip(*kinds, strict=True))[:3]
    answer, perception, weight = (torch.cat(values) for values in columns)
    return Rollouts(answer, perception, weight / len(kinds), kinds[0].group)


def growth(
    rollouts: Rollouts,
    p: float | Tensor,
    q: float | Tensor,
    credit: Credit,
    alpha: float,
    plasticity: float = 1.0,
    reward: Tensor | None = None,
    scale: Scale = "group",
) -> float:
    """da/dt of a = p q under policy gradient ascent on u and v.

    p, q: of all rollouts, or (R,) of each. reward: (R,), None: perception.
    """
    answer, perception, weight, group = rollouts
    advantages = assign_credit(
        credit,
        answer,
        perception if reward is None else reward,
        torch.zeros(len(answer), dtype=torch.int64),
        alpha=alpha,
        group_size=group,
        scale=scale,
    )
    du = float((weight * advantages.perception * (perception - p)).sum())
    dv = float((weight * advantages.reasoning * perception * (answer - q)).sum())
    c_p, c_r = (float((weight * slope).sum()) for slope in (p * (1 - p) * q, p * q * (1 - q)))
    return plasticity * c_p * du + c_r * dv


def measured(rollouts: Rollouts, **more: object) -> Measured:
    """What the rule sees of them; all rollouts count alike."""
    answer, perception, _, size = rollouts
    group = torch.arange(len(answer)) // size
    stats = CouplingStats(1).update(answer[:, None], perception, None, group)
    counts = count_groups(answer, perception, group, len(answer) // size)
    return Measured.of(stats, 0, counts, **more)
