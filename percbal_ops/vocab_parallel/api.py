"""Cross-entropy where each rank of a process group holds some columns of the logits; (M12).

One all-gather of 6 numbers per row and rank (11 with label smoothing) in the forward pass, nothing
in the backward: each rank writes the gradient of its own columns from the merged statistics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor

from percbal_ops.checks import (
    check_backward_only,
    check_ids,
    check_options,
    check_segment_vectors,
    check_shard,
)
from percbal_ops.losses.api import SegmentOutput, nan_for_zero
from percbal_ops.losses.options import LossOptions
from percbal_ops.losses.reference import accumulate_dtype, weighted_sum
from percbal_ops.losses.segments import segment_results, split
from percbal_ops.renamed import renamed
from percbal_ops.vocab_parallel import library  # noqa: F401  defines the operators used here
from percbal_ops.vocab_parallel.rows import MERGED

if TYPE_CHECKING:  # a torch built without torch.distributed has the other operators
    from torch.distributed import ProcessGroup

TARGET_WEIGHT = MERGED.index("target_weight")
WHOLE = "F.cross_entropy of the gathered logits"


@renamed(weight="class_weight")
def vocab_parallel_cross_entropy(
    logits_shard: Tensor,
    target: Tensor,
    vocab_start: int,
    group: ProcessGroup | None = None,
    *,
    class_weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
) -> Tensor:
    """Cross-entropy of logits whose columns are spread over `group`.

    Equal to ``F.cross_entropy(logits.float().flatten(0, -2), target.flatten(), class_weight)`` of
    the gathered logits; z_loss and softcap as in `segment_cross_entropy`.

    logits_shard: (..., V_r) float, columns [vocab_start, vocab_start + V_r) of the vocabulary, the
    shards of the group disjoint and complete, of any sizes; target: (...) int, the same on every
    rank, in the numbering of the whole vocabulary; class_weight: (V_r,) of these columns, on all
    ranks or none. Every rank returns the same loss, float32 (float64 for float64 logits): ()
    or, for reduction="none", the shape of target. The gradient is that of the rank's own columns.
    One collective, in the forward pass.

    "mean" over no token is NaN with a zero gradient, as in torch. A target that no rank holds gives
    an infinite loss: no rank knows the whole vocabulary.
    Raises ValueError for shapes, dtypes, devices and options that do not fit.
    """
    check_backward_only("vocab_parallel_cross_entropy", WHOLE, logits_shard, target, class_weight)
    check_shard(logits_shard, class_weight, target=target)
    check_options(label_smoothing, z_loss, softcap)
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"reduction must be 'none', 'mean' or 'sum', got {reduction!r}")
    index = target.reshape(-1).long()
    class_weight = _detached(class_weight)
    options = LossOptions(class_weight, ignore_index, label_smoothing, z_loss, softcap or 0.0)
    rows = logits_shard.flatten(0, -2)
    loss, _, merged = torch.ops.percbal.vocab_parallel_rows(
        rows, index, options.class_weight, vocab_start, *options.numbers, _name(group)
    )
    if reduction == "none":
        return loss.reshape(target.shape)
    valid = index != ignore_index
    total = weighted_sum(torch.ones_like(loss), loss, valid)
    return total / nan_for_zero(merged[TARGET_WEIGHT].sum()) if reduction == "mean" else total


@renamed(weight="class_weight")
def vocab_parallel_segment_cross_entropy(
    logits_shard: Tensor,
    target: Tensor,
    segment_ids: Tensor,
    segment_weights: Tensor,
    vocab_start: int,
    group: ProcessGroup | None = None,
    *,
    segment_counts: Tensor | None = None,
    ignore_index: int = -100,
    class_weight: Tensor | None = None,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
) -> SegmentOutput:
    """`segment_cross_entropy` of logits whose columns are spread over `group`; (M6), (M7), (M12).

    logits_shard, target, vocab_start, group, class_weight as in `vocab_parallel_cross_entropy`;
    segments as in `segment_cross_entropy`, the same on every rank. Every rank returns the same
    output; the norms are those of the gradient of the whole logits, not of the rank's columns.
    Raises ValueError for shapes, dtypes, devices and options that do not fit; IndexError for a
    segment id out of range (on CUDA only with PERCBAL_CHECK=1).
    """
    given = (logits_shard, target, segment_ids, segment_weights, segment_counts, class_weight)
    check_backward_only("vocab_parallel_segment_cross_entropy", WHOLE, *given)
    check_shard(logits_shard, class_weight, target=target, segment_ids=segment_ids)
    check_segment_vectors(segment_weights, segment_counts, logits_shard=logits_shard)
    check_options(label_smoothing, z_loss, softcap)
    rows, index, ids = logits_shard.flatten(0, -2), target.reshape(-1).long(), segment_ids
    ids = ids.reshape(-1)
    check_ids(ids, segment_weights.shape[0])
    dtype = accumulate_dtype(rows)
    parts = split(index, ids, segment_weights, segment_counts, ignore_index, dtype)
    class_weight = _detached(class_weight)
    options = LossOptions(class_weight, ignore_index, label_smoothing, z_loss, softcap or 0.0)
    loss, grad_sq, _ = torch.ops.percbal.vocab_parallel_rows(
        rows, parts.target, options.class_weight, vocab_start, *options.numbers, _name(group)
    )
    total = weighted_sum(parts.row_weight, loss, parts.target != ignore_index)
    mean, norm = segment_results(loss, grad_sq, parts)
    return SegmentOutput(total, mean, parts.counts, norm)


def _name(group: ProcessGroup | None) -> str:
    if not (dist.is_available() and dist.is_initialized()):
        raise ValueError("a vocab-parallel loss needs torch.distributed.init_process_group first")
    chosen = dist.group.WORLD if group is None else group
    assert chosen is not None
    return chosen.group_name


def _detached(weight: Tensor | None) -> Tensor | None:
    """Class weights are constants, as in torch."""
    return None if weight is None else weight.detach()
