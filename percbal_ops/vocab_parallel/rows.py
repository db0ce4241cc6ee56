"""Rows of logits whose columns are spread over a process group: one all-gather; (M12)."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from percbal_ops.losses.options import LossOptions
from percbal_ops.vocab_parallel.shard_rows import Merged, merge, shard_gradient, shard_statistics

MERGED = Merged._fields[2:]  # what backward needs of a row


def vocab_parallel_rows(
    logits: Tensor, target: Tensor, vocab_start: int, options: LossOptions, group: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss (N,), squared gradient norm (N,), both of whole rows, and MERGED (5, N)."""
    smoothing = options.label_smoothing
    local = _local(target, vocab_start, logits.shape[1], options.ignore_index)
    mine = shard_statistics(logits, local, options.class_weight, options.softcap, smoothing != 0.0)
    process_group = dist.distributed_c10d._resolve_process_group(group)  # type: ignore[arg-type]
    ranks = dist.get_world_size(process_group)
    parts = mine.new_empty(ranks, *mine.shape)
    dist.all_gather(list(parts), mine, group=process_group)
    rows = merge(parts, target != options.ignore_index, smoothing, options.z_loss)
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
    """row_grad (N,) times this rank's columns of the gradient -> (N, V_r)."""
    local = _local(target, vocab_start, logits.shape[1], ignore_index)
    rows = Merged(row_grad, row_grad, *merged)  # the gradient needs neither loss nor norm
    row_grad = torch.where(target == ignore_index, 0.0, row_grad)
    return shard_gradient(row_grad, logits, local, weight, rows, softcap)


def _local(target: Tensor, vocab_start: int, columns: int, ignore_index: int) -> Tensor:
    """(N,): column of the target on this rank, -1 where it has none."""
    inside = (target >= vocab_start) & (target < vocab_start + columns) & (target != ignore_index)
    return torch.where(inside, target - vocab_start, -1)
