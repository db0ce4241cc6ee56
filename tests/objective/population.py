"""The model behind docs/theory.md, rollout by rollout: no formula of that page is used here.

A rollout perceives rightly with probability p = sigmoid(u), and then answers rightly with
probability q = sigmoid(v); after a wrong perception the answer is wrong. The advantages are those
of the trainer's own credit assignment.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from percbal.objective.credit import Credit, assign_credit


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


def growth(
    rollouts: Rollouts,
    p: float,
    q: float,
    credit: Credit,
    alpha: float,
    plasticity: float = 1.0,
    reward: Tensor | None = None,
) -> float:
    """da/dt of a = p q under policy gradient ascent on u and v. reward: (R,), None: perception."""
    answer, perception, weight, group = rollouts
    advantages = assign_credit(
        credit,
        answer,
        perception if reward is None else reward,
        torch.zeros(len(answer), dtype=torch.int64),
        alpha=alpha,
        group_size=group,
    )
    du = float((weight * advantages.perception * (perception - p)).sum())
    dv = float((weight * advantages.reasoning * perception * (answer - q)).sum())
    return plasticity * p * (1 - p) * q * du + p * q * (1 - q) * dv
