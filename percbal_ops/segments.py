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


def check_integers(shape: torch.Size, **ids: Tensor) -> None:
    """Each of `ids` holds one integer for each token; `shape` is that of the tokens."""
    for name, values in ids.items():
        if values.shape != shape:
            raise ValueError(f"{name} must have shape {tuple(shape)}, got {tuple(values.shape)}")
        if values.dtype.is_floating_point or values.dtype == torch.bool:
            raise ValueError(f"{name} must hold integers, got {values.dtype}")


def check_segment_vectors(segment_weights: Tensor, segment_counts: Tensor | None) -> None:
    if segment_weights.dim() != 1 or not segment_weights.dtype.is_floating_point:
        raise ValueError(
            "segment_weights must be (S,) and floating point, got shape "
            f"{tuple(segment_weights.shape)} of {segment_weights.dtype}"
        )
    if segment_weights.requires_grad:
        raise ValueError("segment_weights must not require grad; it is taken as a constant")
    if segment_counts is not None and segment_counts.shape != segment_weights.shape:
        raise ValueError(
            f"segment_counts must have shape {tuple(segment_weights.shape)}, "
            f"got {tuple(segment_counts.shape)}"
        )
