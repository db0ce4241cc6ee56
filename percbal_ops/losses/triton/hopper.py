"""The operators with CUDA C++ where it applies (csrc/cuda, Hopper) and Triton everywhere else."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from percbal_ops.losses.options import LossOptions, packed
from percbal_ops.losses.triton import launch as triton_kernels
from percbal_ops.losses.triton.launch import (
    scale_,
    token_cross_entropy,
    token_cross_entropy_backward,
)

__all__ = [
    "scale_",
    "token_cross_entropy",
    "token_cross_entropy_backward",
    "weighted_cross_entropy",
    "weighted_cross_entropy_",
]
BLOCK_BYTES = 196608  # of a row in one block, at most
SHORTEST = 8192  # where two passes take the same time (H200): the second finds its row in a cache


def weighted_cross_entropy(
    logits: Tensor, target: Tensor, row_weight: Tensor, *flat: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As Triton's, from one read and one write of the logits where a cluster can hold a row."""
    options, need_grad = packed(flat)
    if not (need_grad and applies(logits, options)):
        return triton_kernels.weighted_cross_entropy(logits, target, row_weight, *flat)
    dlogits = logits.new_empty(logits.shape)
    loss, grad_sq = _launch(logits, target, row_weight, options, dlogits)
    total = triton_kernels.weighted_sum(loss, target, row_weight, options.ignore_index)
    return total, loss, grad_sq, dlogits


def weighted_cross_entropy_(
    logits: Tensor, target: Tensor, row_weight: Tensor, *flat: Any
) -> tuple[Tensor, Tensor]:
    """As Triton's: the gradient takes the logits' place. No block writes before every block of its
    row has read its slice."""
    options = LossOptions(*flat)
    if not (logits.is_contiguous() and applies(logits, options)):
        return triton_kernels.weighted_cross_entropy_(logits, target, row_weight, *flat)
    return _launch(logits, target, row_weight, options, logits)


def _launch(
    logits: Tensor,
    target: Tensor,
    row_weight: Tensor,
    options: LossOptions,
    dlogits: Tensor,
) -> tuple[Tensor, Tensor]:
    """Loss (N,) and squared gradient norm (N,); the gradient goes to dlogits (N, V)."""
    weight = options.class_weight
    loss = logits.new_empty(logits.shape[0], dtype=torch.float32)
    grad_sq = torch.empty_like(loss)
    torch.ops.percbal_cuda.weighted_cross_entropy_out(
        logits,
        target.long(),
        row_weight.float(),
        None if weight is None else weight.float().contiguous(),
        loss,
        grad_sq,
        dlogits,
        options.ignore_index,
        options.z_loss,
    )
    return loss, grad_sq


def applies(logits: Tensor, options: LossOptions) -> bool:
    """The kernel's limits: compute capability 9.x, rows on 16 bytes, no smoothing, no softcap."""
    return (
        options.label_smoothing == 0.0
        and options.softcap == 0.0
        and takes_rows(logits)
        and logits.is_cuda
        and torch.cuda.get_device_capability(logits.device)[0] == 9
    )


def takes_rows(logits: Tensor) -> bool:
    """Rows that begin and end on 16 bytes, and fit into eight blocks: a cluster of so many can be
    placed on every such device, of sixteen not."""
    size = logits.element_size()
    return (
        logits.dtype != torch.float64
        and logits.stride(1) == 1
        and SHORTEST < logits.shape[1] <= 8 * BLOCK_BYTES // size
        and logits.shape[1] * size % 16 == 0
        and logits.stride(0) * size % 16 == 0
        and logits.data_ptr() % 16 == 0
    )
