"""The functions users call: checked at the edge, documented by equivalence."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn._reduction import legacy_get_string as legacy_reduction

from percbal_ops.checks import (
    FLOATS,
    check_backward_only,
    check_ids,
    check_is_number,
    check_options,
    check_segments,
    check_targets,
)
from percbal_ops.losses import library
from percbal_ops.losses.inplace import weighted_over_logits
from percbal_ops.losses.options import LossOptions
from percbal_ops.losses.reference import accumulate_dtype, under_autocast, weighted_sum
from percbal_ops.losses.segments import segment_results, split
from percbal_ops.renamed import renamed

# What keeps the kernels from a call that torch defines: what of the call, what they need, what was
# given. Not yet a sentence: to make one would break a graph of torch.compile, and torch has one.
Misfit = tuple[str, object, object]
# Sums over rows are float64, which others may lack (mps does). meta: shapes alone.
KERNEL_DEVICES = ("cpu", "cuda", "meta")


class SegmentOutput(NamedTuple):
    """Result of a segment loss. All float32 (float64 for float64 logits), counts int64."""

    loss: Tensor  # (), differentiable: sum_s segment_weights[s] * segment_loss[s]
    segment_loss: Tensor  # (S,): mean loss of each segment
    segment_count: Tensor  # (S,): tokens of each segment in this call
    segment_grad_norm: Tensor  # (S,): norm of d segment_loss[s] / d logits (M7)


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    *,
    inplace: bool = False,
) -> Tensor:
    """`torch.nn.functional.cross_entropy`, computed in one pass over the logits.

    Same signature, shapes, reductions, errors and gradients as ``F.cross_entropy(input, target,
    ...)``, but for a NaN `label_smoothing`, a ValueError here, which torch takes for 0. The result
    has the dtype of `input` (float32 under autocast). Sums run in float32 (float64 for float64
    input), accurate near p(target) = 1 (M2).

    input: (V,), (N, V) or (N, V, d1, ...), float; target: int64 indices (), (N,), (N, d1, ...).
    Probability targets, devices other than CPU and CUDA, and inputs F.cross_entropy would refuse
    are handed to it. On CUDA an index out of range gives a NaN loss instead of a device assertion,
    or an IndexError with PERCBAL_CHECK=1 (which waits for the device). torch.func and forward-mode
    derivatives raise RuntimeError, and so does backward where `input` was written to after the
    call; torch has both.

    inplace: let the gradient take the place of the logits, so that forward and backward need next
    to no memory beyond them. Safe where nothing reads `input` after this call, forward or backward:
    it then holds other numbers. An operation that saved `input` for its own backward makes that
    backward raise, and so does a second backward of the loss; the operation that made `input` must
    not have saved it (a matrix product does not). It takes "mean" or "sum", float64, float32 or
    bfloat16, and logits that are neither a leaf nor part of a larger tensor, contiguous with the
    classes last (an input of (N, V, d1, ...) is a `movedim` of such logits); it breaks a
    graph under torch.compile. Where no gradient is wanted, or there are no logits at all, nothing
    is written. ValueError where the call would be torch's, with what does not fit.
    """
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce)
    check_is_number(label_smoothing=label_smoothing)  # torch takes NaN for 0
    misfit = _misfit(input, target, weight, reduction, label_smoothing)
    if inplace:
        _check_inplace(input, reduction, misfit)
    if misfit is not None:
        return F.cross_entropy(
            input, target, weight, None, ignore_index, None, reduction, label_smoothing
        )
    check_backward_only("cross_entropy", "F.cross_entropy", input, target, weight)
    logits, index = _classes_last(input, target)
    all_count = check_targets(index, logits.shape[-1], ignore_index)
    dtype = accumulate_dtype(logits)
    class_weight = None if weight is None else weight.to(dtype)
    options = LossOptions(class_weight, ignore_index, label_smoothing)
    out_dtype = dtype if under_autocast(input) else input.dtype
    if reduction == "none":
        loss = torch.ops.percbal.token_cross_entropy(logits.flatten(0, -2), index, *options)[0]
        return loss.to(out_dtype).reshape(target.shape)
    share = 1.0 if reduction == "sum" else None
    if reduction == "mean" and all_count and class_weight is None:
        share = 1.0 / index.shape[0]
    return _reduced(logits, index, options, share, inplace=inplace).to(out_dtype)


@renamed(weight="class_weight")
def segment_cross_entropy(
    logits: Tensor,
    target: Tensor,
    segment_ids: Tensor,
    segment_weights: Tensor,
    *,
    segment_counts: Tensor | None = None,
    ignore_index: int = -100,
    class_weight: Tensor | None = None,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    inplace: bool = False,
) -> SegmentOutput:
    """Cross-entropy averaged within each segment of tokens, then weighted over segments; (M6).

    Equal, for every segment s, to ::

        nll = F.cross_entropy(logits.float().flatten(0, -2), target.flatten(), reduction="none")
        segment_loss[s] = nll[segment_ids.flatten() == s].sum() / segment_counts[s]
        loss = (segment_weights * segment_loss).sum()
        segment_grad_norm[s] = torch.autograd.grad(segment_loss[s], logits)[0].norm()

    in one pass over the logits, which also yields the gradient. Only `loss` is differentiable.

    logits: (..., V) float; target, segment_ids: (...) int; segment_weights: (S,) float.
    A token with a negative segment id or an ignored target is in no segment.
    segment_counts: (S,), default the tokens in this call. A trainer gives the count over all
    micro-batches and ranks; then losses add up over micro-batches, and so do squared norms.
    class_weight: (V,); z_loss: coefficient of the squared logsumexp; softcap: c of (M1).
    inplace: write the gradient over the logits, on the terms of `cross_entropy`.
    An empty segment contributes 0; if all are empty the loss is 0 and still has a gradient (zeros).

    Raises ValueError for shapes, dtypes, devices and options that do not fit; IndexError for a
    target or segment id out of range (on CUDA only with PERCBAL_CHECK=1, which waits for the
    device: without it such a target gives a NaN loss, such a segment id counts as no segment).
    """
    given = (logits, target, segment_ids, segment_weights, segment_counts, class_weight)
    check_backward_only("segment_cross_entropy", "F.cross_entropy", *given)
    check_segments(*given)
    check_options(label_smoothing, z_loss, softcap)
    index, ids = target.reshape(-1), segment_ids.reshape(-1)
    check_targets(index, logits.shape[-1], ignore_index)
    check_ids(ids, segment_weights.shape[0])
    dtype = accumulate_dtype(logits)
    parts = split(index, ids, segment_weights, segment_counts, ignore_index, dtype)
    class_weight = None if class_weight is None else class_weight.detach().to(dtype)
    options = LossOptions(class_weight, ignore_index, label_smoothing, z_loss, softcap or 0.0)
    rows = logits if inplace else logits.flatten(0, -2)
    total, loss, grad_sq = _weighted(rows, parts.target, parts.row_weight, options, inplace=inplace)
    mean, norm = segment_results(loss, grad_sq, parts)
    return SegmentOutput(total, mean, parts.counts, norm)


def _weighted(
    logits: Tensor, index: Tensor, row_weight: Tensor, options: LossOptions, *, inplace: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """sum row_weight * loss (), differentiable; loss (N,) and squared gradient norm (N,), not.
    logits (N, V), or (..., V) in place."""
    need_grad = logits.requires_grad and torch.is_grad_enabled()
    if inplace and need_grad:
        return weighted_over_logits(logits, index, row_weight, options)
    rows = logits.flatten(0, -2) if logits.dim() != 2 else logits
    if need_grad and rows.dtype == torch.float16:
        # A gradient made before the loss scale is known would underflow: row weights are 1 / N.
        loss, grad_sq, _ = torch.ops.percbal.token_cross_entropy(rows, index, *options)
        total = weighted_sum(row_weight, loss, index != options.ignore_index)
        return total, loss.detach(), grad_sq
    return library.weighted_cross_entropy(rows, index, row_weight, options, need_grad)[:3]


def _classes_last(input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """(V,) or (N, V, d1, ...) -> (N, d1, ..., V), a view, and the targets in one row."""
    if input.dim() == 2:
        return input, target
    return input.movedim(1, -1) if input.dim() > 1 else input[None], target.reshape(-1)


def _reduced(
    logits: Tensor, index: Tensor, options: LossOptions, share: float | None, *, inplace: bool
) -> Tensor:
    """() = share times the sum of the losses; None: their mean, by what the targets weigh."""
    dtype = accumulate_dtype(logits)
    if share is not None:
        row_weight = logits.new_full((), share, dtype=dtype).expand(index.shape)
        return _weighted(logits, index, row_weight, options, inplace=inplace)[0]
    inverse = mean_share(index, options.class_weight, options.ignore_index, dtype)
    total = _weighted(logits, index, inverse.expand(index.shape), options, inplace=inplace)[0]
    # No rows at all: 0 * (1 / 0) makes the mean NaN, as in torch, with a zero gradient.
    return total + 0.0 * inverse


def _misfit(
    input: Tensor, target: Tensor, weight: Tensor | None, reduction: str, smoothing: float
) -> Misfit | None:
    """None: a call the kernels compute. Everything else is torch's, errors included."""
    if torch.overrides.has_torch_function_variadic(input, target, weight):
        return "arguments", "that are plain tensors", "a subclass"
    if input.dim() == 0 or input.numel() == 0:
        return "input.shape", "(V,), (N, V) or (N, V, d1, ...), no 0", tuple(input.shape)
    classes = input.shape[min(input.dim(), 2) - 1]
    shape = input.shape[:1] + input.shape[2:] if input.dim() > 1 else torch.Size()
    return rows_misfit(input, shape, classes, target, weight, reduction, smoothing)


def rows_misfit(
    input: Tensor,
    shape: torch.Size,
    classes: int,
    target: Tensor,
    weight: Tensor | None,
    reduction: str,
    smoothing: float,
) -> Misfit | None:
    """Of losses of `shape` over `classes`, by index targets; `input` has their dtype and device."""
    if input.dtype not in FLOATS:
        return "input.dtype among", FLOATS, input.dtype
    if input.device.type not in KERNEL_DEVICES:
        return "input.device among", KERNEL_DEVICES, input.device
    if target.dtype != torch.int64:
        return "target.dtype", torch.int64, target.dtype
    if target.shape != shape:
        return "target.shape", tuple(shape), tuple(target.shape)
    if target.device != input.device:
        return "target.device", input.device, target.device
    if reduction not in ("none", "mean", "sum"):
        return "reduction", "'none', 'mean' or 'sum'", reduction
    if not 0.0 <= smoothing <= 1.0:
        return "label_smoothing", "between 0 and 1", smoothing
    return None if weight is None else _weight_misfit(input, classes, weight)


def _weight_misfit(input: Tensor, classes: int, weight: Tensor) -> Misfit | None:
    if weight.shape != (classes,):
        return "weight.shape", (classes,), tuple(weight.shape)
    if weight.device != input.device:
        return "weight.device", input.device, weight.device
    # autocast casts both to float32, but no float64
    wide = torch.float64 in (input.dtype, weight.dtype)
    if weight.dtype != input.dtype and (wide or not under_autocast(input)):
        return "weight.dtype", input.dtype, weight.dtype
    if weight.requires_grad and torch.is_grad_enabled():
        return "weight.requires_grad", False, True
    return None


def _check_inplace(input: Tensor, reduction: str, misfit: Misfit | None) -> None:
    if reduction not in ("mean", "sum"):
        misfit = "reduction", "'mean' or 'sum'", repr(reduction)
    elif misfit is None or input.numel() == 0:  # torch has an empty batch, nothing to overwrite
        return
    what, needed, given = misfit
    raise ValueError(f"inplace=True needs {what} {needed}, got {given}")


def mean_share(
    index: Tensor, weight: Tensor | None, ignore_index: int, dtype: torch.dtype
) -> Tensor:
    """() = 1 / sum of the target's class weights over the rows that count."""
    valid = index != ignore_index
    if weight is None:
        return 1 / valid.sum().to(dtype)
    return 1 / nan_for_zero(torch.where(valid, weight[torch.where(valid, index, 0)], 0.0).sum())


def nan_for_zero(total: Tensor) -> Tensor:
    """What a mean is divided by. 0 / 0 is NaN, and so are all gradients of it, in torch: 1 / 0
    times a gradient would be infinite."""
    return torch.where(total == 0, torch.nan, total)
