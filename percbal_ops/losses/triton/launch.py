"""The cross-entropy operators on CUDA (and ROCm) by Triton: signatures as in `library.SCHEMAS`."""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from percbal_ops.losses.options import LossOptions, packed
from percbal_ops.losses.reference import accumulate_dtype
from percbal_ops.losses.triton.scalar_passes import scale_kernel, weighted_sum_kernel
from percbal_ops.losses.triton.two_pass import gradient_kernel, loss_kernel

WARPS = 4  # of a program that reads a row
SCALE_PROGRAMS = 1024  # enough to fill any GPU, few enough to cost nothing where they leave at once
SCALE_BLOCK, SCALE_WARPS = 2048, 4


class Tiling(NamedTuple):
    """Columns of a tile and warps of a program."""

    block: int
    warps: int


def tiling(itemsize: int, heavy: bool) -> Tiling:
    """Four warps, since each tile's maximum makes a program's warps wait for one another; sixteen
    columns a thread: enough loads in flight, and two sums of each stay in registers. Half of it
    where a row is heavy, with six sums of each by smoothing or a slope of each by softcap, and
    where float64 takes two registers. From the sweep in docs/gpu.md.
    """
    columns = 16 // (2 if heavy else 1) // (2 if itemsize == 8 else 1)
    return Tiling(32 * WARPS * columns, WARPS)


def token_cross_entropy(
    logits: Tensor, target: Tensor, *flat: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss (N,), squared gradient norm (N,), statistics (N, 4); one read of the logits."""
    logits = with_unit_columns(logits)
    loss = logits.new_empty(logits.shape[0], dtype=accumulate_dtype(logits))
    grad_sq, stats = torch.empty_like(loss), loss.new_empty(logits.shape[0], 4)
    _launch_loss(logits, target, None, (loss, grad_sq, stats, None), LossOptions(*flat))
    return loss, grad_sq, stats


def token_cross_entropy_backward(
    row_grad: Tensor,
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    stats: Tensor,
    *numbers: Any,
) -> Tensor:
    """row_grad (N,), any stride, times the gradient of each row -> (N, V); one read, one write."""
    logits = with_unit_columns(logits)
    n_rows, vocab = logits.shape
    dlogits = logits.new_empty(logits.shape)
    if n_rows == 0:
        return dlogits
    block, warps = tiling(logits.element_size(), logits.dtype == torch.float64)
    options = LossOptions(weight, *numbers)
    flags = _flags(logits, options)
    columns = vocab + 15 if flags["SHIFTED"] else vocab
    with on_device_of(logits):
        gradient_kernel[(n_rows * triton.cdiv(columns, block),)](
            row_grad,
            logits,
            target,
            None if weight is None else weight.contiguous(),
            stats,
            dlogits,
            vocab,
            logits.stride(0),
            target.stride(0),
            row_grad.stride(0),
            options.ignore_index,
            options.label_smoothing,
            options.softcap,
            **flags,
            BLOCK=block,
            num_warps=warps,
            enable_fp_fusion=True,
        )
    return dlogits


def weighted_cross_entropy(
    logits: Tensor, target: Tensor, row_weight: Tensor, *flat: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """sum_t row_weight_t loss_t (), loss (N,), squared gradient norm (N,) of the unweighted rows,
    and the gradient of the sum (N, V), or an empty tensor where it is not needed."""
    options, need_grad = packed(flat)
    logits = with_unit_columns(logits)
    loss = logits.new_empty(logits.shape[0], dtype=accumulate_dtype(logits))
    grad_sq = torch.empty_like(loss)
    dlogits = logits.new_empty(logits.shape if need_grad else 0)
    outputs = (loss, grad_sq, None, dlogits if need_grad else None)
    _launch_loss(logits, target, row_weight if need_grad else None, outputs, options)
    return weighted_sum(loss, target, row_weight, options.ignore_index), loss, grad_sq, dlogits


def weighted_cross_entropy_(
    logits: Tensor, target: Tensor, row_weight: Tensor, *flat: Any
) -> tuple[Tensor, Tensor]:
    """Loss (N,) and squared gradient norm (N,) as above; the gradient takes the logits' place, each
    tile being read by the program that then writes it."""
    if not logits.is_contiguous():
        raise ValueError(
            "logits must be contiguous to be written in place, "
            f"got shape {tuple(logits.shape)} with strides {logits.stride()}"
        )
    loss = logits.new_empty(logits.shape[0], dtype=accumulate_dtype(logits))
    grad_sq = torch.empty_like(loss)
    outputs = (loss, grad_sq, None, logits)
    _launch_loss(logits, target, row_weight, outputs, LossOptions(*flat))
    return loss, grad_sq


def scale_(x: Tensor, factor: Tensor) -> None:
    """x *= factor () in place, without waiting for the device; a factor of 1 costs a launch."""
    if x.numel() == 0:
        return
    if not x.is_contiguous():
        x.mul_(factor)
        return
    with on_device_of(x):
        programs = min(triton.cdiv(x.numel(), SCALE_BLOCK), SCALE_PROGRAMS)
        scale_kernel[(programs,)](x, factor, x.numel(), BLOCK=SCALE_BLOCK, num_warps=SCALE_WARPS)


def _launch_loss(
    logits: Tensor,
    target: Tensor,
    row_weight: Tensor | None,
    outputs: tuple[Tensor | None, ...],
    options: LossOptions,
) -> None:
    n_rows, vocab = logits.shape
    if n_rows == 0:
        return
    flags = _flags(logits, options)
    heavy = flags["SMOOTHED"] or flags["CAPPED"]
    block, warps = tiling(logits.element_size(), heavy)
    with on_device_of(logits):
        loss_kernel[(n_rows,)](
            logits,
            target,
            row_weight,
            *_class_weights(options.class_weight),
            *outputs,
            vocab,
            logits.stride(0),
            target.stride(0),
            0 if row_weight is None else row_weight.stride(0),
            *options.numbers,
            **flags,
            BLOCK=block,
            num_warps=warps,
            enable_fp_fusion=True,
        )


def weighted_sum(loss: Tensor, target: Tensor, row_weight: Tensor, ignore_index: int) -> Tensor:
    """() = sum over the rows that count of row_weight (N,), any stride, times loss (N,)."""
    total = loss.new_empty(())
    with on_device_of(loss):
        weighted_sum_kernel[(1,)](
            loss,
            target,
            row_weight,
            total,
            loss.shape[0],
            target.stride(0),
            row_weight.stride(0),
            ignore_index,
            BLOCK=1024,
            num_warps=8,
        )
    return total


def _flags(logits: Tensor, options: LossOptions) -> dict[str, bool]:
    """What the compiler must know; each combination is compiled once."""
    return {
        "SMOOTHED": options.label_smoothing != 0.0,
        "CAPPED": options.softcap != 0.0,
        "SHIFTED": rows_are_shifted(logits),
        "PACKED": logits.stride(0) == logits.shape[1],
    }


def rows_are_shifted(logits: Tensor) -> bool:
    """Whether rows need not begin and end on a 128-bit boundary."""
    return logits.stride(0) % 16 != 0 or logits.shape[1] % 16 != 0


def with_unit_columns(logits: Tensor) -> Tensor:
    """Wide loads want neighbouring columns to be neighbours in memory; rows may have any stride."""
    return logits if logits.stride(1) == 1 or logits.shape[1] == 1 else logits.contiguous()


def _class_weights(weight: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """w (V,) and its sum ()."""
    return (None, None) if weight is None else (weight.contiguous(), weight.sum())


def on_device_of(x: Tensor) -> contextlib.AbstractContextManager[Any]:
    """Triton launches on the current device, which need not be the tensor's."""
    return torch.cuda.device_of(x) if x.is_cuda else contextlib.nullcontext()
