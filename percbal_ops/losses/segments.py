"""Which token is in which segment, and what a segment's rows add up to; (M6), (M7)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Segments(NamedTuple):
    """Tokens N, segments S. Dense masks keep every sum deterministic and free of host waits."""

    member: Tensor  # (S, N) bool
    counts: Tensor  # (S,) int64, in this call
    inverse: Tensor  # (S,) float64: 1 / N_s, 0 for an empty segment
    row_weight: Tensor  # (N,) = w_s / N_s of the row's segment, else 0
    target: Tensor  # (N,) int64, ignore_index where the row is in no segment
    ids: Tensor  # (N,) int64: segment of the row, -1 for none


def split(
    target: Tensor,
    segment_ids: Tensor,
    segment_weights: Tensor,
    segment_counts: Tensor | None,
    ignore_index: int,
    dtype: torch.dtype,
) -> Segments:
    """target, segment_ids (N,); segment_weights, segment_counts (S,) -> row weights of `dtype`."""
    known = torch.arange(segment_weights.shape[0], device=segment_ids.device)[:, None]
    member = (segment_ids == known) & (target != ignore_index)
    count = member.sum(1)
    divisor = (count if segment_counts is None else segment_counts).to(dtype)
    share = torch.where(divisor > 0, segment_weights.detach().to(dtype) / divisor, 0.0)
    inside = member.any(0)
    return Segments(
        member,
        count,
        torch.where(divisor > 0, 1 / divisor.double(), 0.0),
        (share[:, None] * member).sum(0),
        torch.where(inside, target, ignore_index),
        torch.where(inside, segment_ids.long(), -1),
    )


def segment_sums(rows: Tensor, segments: Segments) -> Tensor:
    """rows (N,) -> (S,) float64, rows of no segment left out whatever they hold."""
    return torch.where(segments.member, rows, 0.0).sum(1, dtype=torch.float64)
