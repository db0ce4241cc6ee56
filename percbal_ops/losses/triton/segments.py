"""The operators around a segment loss on CUDA (and ROCm) by Triton: one launch each."""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from percbal_ops.losses import segments as plain
from percbal_ops.losses.triton.launch import on_device_of
from percbal_ops.losses.triton.segment_kernels import results_kernel, split_kernel

MOST_SEGMENTS = 128  # of one tile
CELLS = 4096  # (rows, segments) of a tile


def split_segments(
    target: Tensor,
    segment_ids: Tensor,
    weights: Tensor,
    given_counts: Tensor | None,
    ignore_index: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """As losses.segments.split_segments."""
    n, segments = len(target), len(weights)
    if not 0 < segments <= MOST_SEGMENTS:
        return plain.split_segments(target, segment_ids, weights, given_counts, ignore_index)
    count = weights.new_empty(segments, dtype=torch.int64)
    inverse = weights.new_empty(segments, dtype=torch.float64)
    row_weight = weights.new_empty(n)
    masked, ids = (count.new_empty(n) for _ in range(2))
    with on_device_of(target):
        split_kernel[(1,)](
            target,
            segment_ids,
            weights.contiguous(),
            None if given_counts is None else given_counts.contiguous(),
            count,
            inverse,
            row_weight,
            masked,
            ids,
            n,
            segments,
            target.stride(0),
            segment_ids.stride(0),
            ignore_index,
            **_tile(segments),
        )
    return count, inverse, row_weight, masked, ids


def segment_results(
    loss: Tensor, square: Tensor, ids: Tensor, inverse: Tensor
) -> tuple[Tensor, Tensor]:
    """As losses.segments.plain_segment_results."""
    segments = len(inverse)
    if not 0 < segments <= MOST_SEGMENTS:
        return plain.plain_segment_results(loss, square, ids, inverse)
    mean, norm = (loss.new_empty(segments) for _ in range(2))
    with on_device_of(loss):
        results_kernel[(1,)](
            loss.contiguous(),
            square.contiguous(),
            ids.contiguous(),
            inverse.contiguous(),
            mean,
            norm,
            len(loss),
            segments,
            **_tile(segments),
        )
    return mean, norm


def _tile(segments: int) -> dict[str, int]:
    columns = triton.next_power_of_2(segments)
    return {"SEGMENTS": columns, "BLOCK": CELLS // columns, "num_warps": 8}
