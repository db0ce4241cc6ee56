"""Agreement of a group's rollouts, (A1) to (A4), pair by pair in Python."""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor

from percbal_ops.text.reference import edit_similarity


def group_agreement(
    tokens: Tensor, offsets: Tensor, order: Tensor, group_offsets: Tensor, kind: int, longest: int
) -> Tensor:
    """The definition, pair by pair in Python: for tests and for machines without a compiler."""
    flat, bounds = tokens.tolist(), offsets.tolist()
    rollouts = [flat[a:b] for a, b in zip(bounds, bounds[1:], strict=False)]
    rows = order.tolist() or list(range(len(rollouts)))
    similarity = (edit_similarity, _exact, _multiset)[kind]
    out = [float("nan")] * len(rollouts)
    edges = group_offsets.tolist()
    for begin, end in zip(edges, edges[1:], strict=False):
        members = rows[begin:end]
        for r in members:
            others = [similarity(rollouts[r], rollouts[q]) for q in members if q != r]
            if others:
                out[r] = sum(others) / len(others)
    return torch.tensor(out, dtype=torch.float32, device=tokens.device)


def _exact(a: list[int], b: list[int]) -> float:
    return float(a == b)


def _multiset(a: list[int], b: list[int]) -> float:
    if not a and not b:
        return 1.0
    return 2 * sum((Counter(a) & Counter(b)).values()) / (len(a) + len(b))
