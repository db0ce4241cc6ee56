"""Which token is in which segment, and what a segment's rows add up to; (M6), (M7).

Two operators, in plain torch here and one Triton kernel each on CUDA (triton/segments.py). Sums are
deterministic, and nobody waits for a device.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Segments(NamedTuple):
    """Tokens N, segments S."""

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
    given = None if segment_counts is None else segment_counts.detach()
    weights = segment_weights.detach().to(dtype)
    return Segments(
        *torch.ops.percbal.split_segments(target, segment_ids, weights, given, ignore_index)
    )


def segment_results(loss: Tensor, square: Tensor, segments: Segments) -> tuple[Tensor, Tensor]:
    """Mean loss (S,) and norm of its gradient (S,) of each segment, from loss and squared norm (N,)
    of its rows."""
    return torch.ops.percbal.segment_results(loss.detach(), square, segments.ids, segments.inverse)


def split_segments(
    target: Tensor,
    segment_ids: Tensor,
    weights: Tensor,
    given_counts: Tensor | None,
    ignore_index: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The fields of `Segments`; weights (S,) have the dtype of the row weights."""
    member = _members(segment_ids, len(weights)) & (target != ignore_index)
    count = member.sum(1)
    divisor = (count if given_counts is None else given_counts).to(weights.dtype)
    share = torch.where(divisor > 0, weights / divisor, 0.0)
    inside = member.any(0)
    return (
        count,
        torch.where(divisor > 0, 1 / divisor.double(), 0.0),
        (share[:, None] * member).sum(0),
        torch.where(inside, target, ignore_index).long(),
        torch.where(inside, segment_ids.long(), -1),
    )


def plain_segment_results(
    loss: Tensor, square: Tensor, ids: Tensor, inverse: Tensor
) -> tuple[Tensor, Tensor]:
    """Rows of no segment are left out whatever they hold."""
    member = _members(ids, len(inverse))
    sums = [torch.where(member, x, 0.0).sum(1, dtype=torch.float64) for x in (loss, square)]
    return (sums[0] * inverse).to(loss.dtype), (sums[1].sqrt() * inverse).to(loss.dtype)


def _members(segment_ids: Tensor, segments: int) -> Tensor:
    """(S, N) bool: dense masks, since sums by index would not be deterministic."""
    return segment_ids == torch.arange(segments, device=segment_ids.device)[:, None]
