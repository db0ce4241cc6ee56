"""Cross-entropy where each rank of a process group holds some columns of the logits; (M12).

One all-gather of 6 numbers per row and rank (11 with label smoothing) in the forward pass, nothing
in the backward: each rank writes the gradient of its own columns from the merged statistics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor

from percbal_ops.checks import check_ids, check_options, check_segment_vectors, check_shard
from percbal_ops.losses import library  # noqa: F401  defines the namespace of the operators
from percbal_ops.losses.api import SegmentOutput
from percbal_ops.losses.reference import accumulate_dtype, weighted_sum
from percbal_ops.losses.segments import segment_sums, split
from percbal_ops.renamed import renamed
from percbal_ops.vocab_parallel.shard_rows import Merged, merge, shard_gradient, shard_statistics

if TYPE_CHECKING:  # a torch built without torch.distributed has the other operators
    from torch.distributed import ProcessGroup

OPTIONS = "float label_smoothing, float z_loss, float softcap"
SCHEMAS = {
    "vocab_parallel_rows": (
        "(Tensor logits, Tensor target, Tensor? weight, int vocab_start, int ignore_index, "
        f"{OPTIONS}, str group) -> (Tensor loss, Tensor grad_sq, Tensor merged)"
    ),
    "vocab_parallel_rows_backward": (
        "(Tensor row_grad, Tensor logits, Tensor target, Tensor? weight, Tensor merged, "
        "int vocab_start, int ignore_index, float softcap) -> Tensor"
    ),
}

TARGET_WEIGHT = Merged._fields.index("target_weight") - 2  # in `merged`


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
    """``F.cross_entropy(logits.float(), target)`` of logits whose columns are spread over `group`.

    logits_shard: (..., V_r) float, columns [vocab_start, vocab_start + V_r) of the vocabulary, the
    shards of the group disjoint and complete, of any sizes; target: (...) int, the same on every
    rank, in the numbering of the whole vocabulary; class_weight: (V_r,) of these columns, on all
    ranks or none. Every rank returns the same loss, float32 (float64 for float64 logits): ()
    or, for reduction="none", the shape of target. The gradient is that of the rank's own columns.
    One collective, in the forward pass.

    "mean" over no token is NaN with a zero gradient, as in torch. A target that no rank holds gives
    an infinite loss: no rank knows the whole vocabulary.
    Raises ValueError for shapes, dtypes and options that do not fit.
    """
    check_shard(logits_shard, class_weight, target=target)
    check_options(label_smoothing, z_loss, softcap)
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"reduction must be 'none', 'mean' or 'sum', got {reduction!r}")
    index = target.reshape(-1).long()
    options = (label_smoothing, z_loss, softcap or 0.0)
    rows, place = logits_shard.flatten(0, -2), (vocab_start, ignore_index)
    loss, _, merged = torch.ops.percbal.vocab_parallel_rows(
        rows, index, _detached(class_weight), *place, *options, _name(group)
    )
    if reduction == "none":
        return loss.reshape(target.shape)
    valid = index != ignore_index
    total = weighted_sum(torch.ones_like(loss), loss, valid)
    return total / merged[TARGET_WEIGHT].sum() if reduction == "mean" else total


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
    """
    check_shard(logits_shard, class_weight, target=target, segment_ids=segment_ids)
    check_segment_vectors(segment_weights, segment_counts)
    check_options(label_smoothing, z_loss, softcap)
    rows, index, ids = logits_shard.flatten(0, -2), target.reshape(-1).long(), segment_ids
    ids = ids.reshape(-1)
    check_ids(ids, segment_weights.shape[0])
    dtype = accumulate_dtype(rows)
    parts = split(index, ids, segment_weights, segment_counts, ignore_index, dtype)
    options = (label_smoothing, z_loss, softcap or 0.0)
    loss, grad_sq, _ = torch.ops.percbal.vocab_parallel_rows(
        rows,
        parts.target,
        _detached(class_weight),
        vocab_start,
        ignore_index,
        *options,
        _name(group),
    )
    norm = segment_sums(grad_sq, parts).sqrt() * parts.inverse
    return SegmentOutput(
        weighted_sum(parts.row_weight, loss, parts.target != ignore_index),
        (segment_sums(loss.detach(), parts) * parts.inverse).to(dtype),
        parts.counts,
        norm.to(dtype),
    )


def _name(group: ProcessGroup | None) -> str:
    if not (dist.is_available() and dist.is_initialized()):
        raise ValueError("a vocab-parallel loss needs torch.distributed.init_process_group first")
    chosen = dist.group.WORLD if group is None else group
    assert chosen is not None
    return chosen.group_name


def _detached(weight: Tensor | None) -> Tensor | None:
    """Class weights are constants, as in torch."""
    return None if weight is None else weight.detach()


def _local(target: Tensor, vocab_start: int, columns: int, ignore_index: int) -> Tensor:
    """(N,): column of the target on this rank, -1 where it has none."""
    inside = (target >= vocab_start) & (target < vocab_start + columns) & (target != ignore_index)
    return torch.where(inside, target - vocab_start, -1)


def vocab_parallel_rows(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    vocab_start: int,
    ignore_index: int,
    label_smoothing: float,
    z_loss: float,
    softcap: float,
    group: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss (N,), squared gradient norm (N,), both of whole rows, and what backward needs (5, N)."""
    local = _local(target, vocab_start, logits.shape[1], ignore_index)
    mine = shard_statistics(logits, local, weight, softcap, label_smoothing != 0.0)
    process_group = dist.distributed_c10d._resolve_process_group(group)  # type: ignore[arg-type]
    ranks = dist.get_world_size(process_group)
    parts = mine.new_empty(ranks, *mine.shape)
    dist.all_gather(list(parts), mine, group=process_group)
    rows = merge(parts, target != ignore_index, label_smoothing, z_loss)
    return rows.loss, rows.grad_sq, torch.stack(rows[2:])


def vocab_parallel_rows_backward(
    row_grad: Tensor,
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    merged: Tensor,
    vocab_start: int,
    ignore_index: int,
    softcap: float,
) -> Tensor:
    local = _local(target, vocab_start, logits.shape[1], ignore_index)
    rows = Merged(row_grad, row_grad, *merged)  # the gradient needs neither loss nor norm
    row_grad = torch.where(target == ignore_index, 0.0, row_grad)
    return shard_gradient(row_grad, logits, local, weight, rows, softcap)


_library = torch.library.Library("percbal", "FRAGMENT")
for _operator, _schema in SCHEMAS.items():
    _library.define(_operator + _schema, tags=torch.Tag.pt2_compliant_tag)
    _library.impl(_operator, globals()[_operator], "CompositeExplicitAutograd")


@torch.library.register_fake("percbal::vocab_parallel_rows")
def _(logits: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    loss = logits.new_empty(logits.shape[0], dtype=accumulate_dtype(logits))
    return loss, torch.empty_like(loss), loss.new_empty(5, logits.shape[0])


@torch.library.register_fake("percbal::vocab_parallel_rows_backward")
def _(row_grad: Tensor, logits: Tensor, *rest: Any) -> Tensor:
    return logits.new_empty(logits.shape)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    logits, target, weight, vocab_start, ignore_index, _, _, softcap, _ = inputs
    ctx.options = (vocab_start, ignore_index, softcap)
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(logits, target, weight, output[2])


def _backward(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    if grad is None:
        return (None,) * 9
    if torch.is_grad_enabled():
        raise RuntimeError(
            "a vocab-parallel cross-entropy cannot be differentiated twice: "
            "its gradient is computed from statistics that are not part of the graph"
        )
    dlogits = torch.ops.percbal.vocab_parallel_rows_backward(grad, *ctx.saved_tensors, *ctx.options)
    return (dlogits, *(None,) * 8)


torch.library.register_autograd("percbal::vocab_parallel_rows", _backward, setup_context=_setup)
