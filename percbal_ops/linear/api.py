"""Losses that start from hidden states: the logits (N, V) never exist as a whole.

Three GEMMs when a gradient is needed (logits, dX, dW), one when not. Peak extra memory, and what
each device drops: docs/linear.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from percbal_ops.checks import (
    FLOATS,
    check_backward_only,
    check_ids,
    check_linear,
    check_options,
    check_segment_vectors,
    check_targets,
)
from percbal_ops.linear import library  # noqa: F401  defines the operators used here
from percbal_ops.linear.inputs import LinearInputs, Needs
from percbal_ops.losses.api import SegmentOutput, cross_entropy, mean_share, rows_misfit
from percbal_ops.losses.options import LossOptions
from percbal_ops.losses.reference import accumulate_dtype, under_autocast
from percbal_ops.losses.segments import segment_results, split
from percbal_ops.renamed import renamed

if TYPE_CHECKING:  # new in torch 2.13
    from torch.nn import LinearCrossEntropyOptions

LEVELS = ("logits", "hidden", "head")
PLAIN = "F.linear and F.cross_entropy"


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: LinearCrossEntropyOptions | None = None,
) -> Tensor:
    """Cross-entropy of ``F.linear(input, linear_weight, linear_bias)`` without holding it.

    Equal to ``F.linear_cross_entropy(input, linear_weight, target, ...)`` of torch 2.13, also where
    torch lacks it: ``F.cross_entropy(F.linear(input, linear_weight, linear_bias), target, ...)``.
    "mean" and "sum" take three GEMMs, the gradient being computed in the forward pass;
    reduction="none" computes the logits again in its backward pass, four in all. Backward may run
    twice (the second time recomputes); differentiating twice raises RuntimeError.

    input: (D,) or (N, D) float; linear_weight: (V, D); linear_bias, weight: (V,); target: int64 (),
    (N,). The result has the dtype of `input` (float32 under autocast). ignore_index: None is -100.
    Weights (V, d1, ..., D), probability targets, devices other than CPU and CUDA and inputs torch
    would refuse take the plain way, errors included; so does a call with torch's own `options`.
    A label_smoothing that is negative or NaN is a ValueError, while torch takes it for 0.
    """
    if not label_smoothing > 1.0:  # which torch refuses; it takes NaN and negative numbers for 0
        check_options(label_smoothing, 0.0, None)
    given = (input, linear_weight, target, linear_bias, weight)
    takes = _is_row_problem(*given, reduction, label_smoothing)
    if options is not None or not takes:
        keywords: dict[str, Any] = dict(
            weight=weight,
            reduction=reduction,
            ignore_index=ignore_index,
            label_smoothing=label_smoothing,
            options=options,
        )
        return _with_whole_logits(input, linear_weight, target, linear_bias, keywords)
    ignore_index = -100 if ignore_index is None else ignore_index
    check_backward_only("linear_cross_entropy", PLAIN, *given)
    out_dtype = accumulate_dtype(input) if under_autocast(input) else input.dtype
    rows, head, bias = cast_as_linear(input, linear_weight, linear_bias)
    rows, index = (rows, target) if rows.dim() == 2 else (rows[None], target[None])
    check_targets(index, head.shape[0], ignore_index)
    dtype = accumulate_dtype(rows)
    class_weight = None if weight is None else weight.detach().to(dtype)
    inputs = LinearInputs(rows, head, bias, index)
    flat = LossOptions(class_weight, ignore_index, label_smoothing)
    if reduction == "none":
        loss = torch.ops.percbal.linear_token_cross_entropy(*inputs, *flat)
        return loss.to(out_dtype).reshape(target.shape)
    share = mean_share(index, class_weight, ignore_index, dtype) if reduction == "mean" else None
    row_weight = rows.new_ones((), dtype=dtype) if share is None else share
    row_weight = row_weight.expand(index.shape)
    total = torch.ops.percbal.linear_weighted_cross_entropy(
        *inputs, row_weight, None, *flat, "logits", 0, *_needs(inputs)
    )[0]
    # No rows at all: 0 * (1 / 0) makes the mean NaN, as in torch, with a zero gradient.
    return (total if share is None else total + 0.0 * share).to(out_dtype)


@renamed(weight="head")
def linear_segment_cross_entropy(
    hidden: Tensor,
    head: Tensor,
    target: Tensor,
    segment_ids: Tensor,
    segment_weights: Tensor,
    *,
    bias: Tensor | None = None,
    grad_norm: str | None = "logits",
    segment_counts: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
) -> SegmentOutput:
    """`segment_cross_entropy` of ``F.linear(hidden, head, bias)`` without holding it; (M6), (M8).

    hidden: (..., D) float; head: (V, D) of the same dtype; bias: (V,); the rest as in
    `segment_cross_entropy`. Tokens of no segment are never multiplied, on CUDA where that pays for
    the wait to learn which they are (docs/linear.md).
    grad_norm says what segment_grad_norm is the gradient with respect to, (M7), (M9), (M10):

    - "logits": ``torch.autograd.grad(segment_loss[s], logits)[0].norm()``, free;
    - "hidden": the same for `hidden`: free where `hidden` needs a gradient, else one GEMM;
    - "head": the same for `head`: no GEMM more where `head` needs a gradient (else one) and the
      segments' sizes may be asked for, else S - 1 GEMMs and S float32 buffers (V, D) more;
    - None: not computed, NaN.

    Backward may run twice (the second time recomputes); differentiating twice raises RuntimeError.
    Raises ValueError for shapes, dtypes, devices and options that do not fit, IndexError for a
    target or segment id out of range (on CUDA only with PERCBAL_CHECK=1).
    """
    given = (hidden, head, bias, target, segment_ids, segment_weights, segment_counts)
    check_backward_only("linear_segment_cross_entropy", PLAIN, *given)
    hidden, head, bias = cast_as_linear(hidden, head, bias)
    check_linear(hidden, head, bias, target=target, segment_ids=segment_ids)
    check_segment_vectors(segment_weights, segment_counts, hidden=hidden)
    check_options(label_smoothing, z_loss, softcap)
    if grad_norm is not None and grad_norm not in LEVELS:
        raise ValueError(f"grad_norm must be None or one of {LEVELS}, got {grad_norm!r}")
    rows, index, ids = hidden.flatten(0, -2), target.reshape(-1), segment_ids.reshape(-1)
    check_targets(index, head.shape[0], ignore_index)
    check_ids(ids, segment_weights.shape[0])
    dtype = accumulate_dtype(rows)
    parts = split(index, ids, segment_weights, segment_counts, ignore_index, dtype)
    inputs = LinearInputs(rows, head, bias, parts.target)
    options = LossOptions(None, ignore_index, label_smoothing, z_loss, softcap or 0.0)
    level, segments = grad_norm or "logits", segment_weights.shape[0]
    total, loss, square, *_ = torch.ops.percbal.linear_weighted_cross_entropy(
        *inputs, parts.row_weight, parts.ids, *options, level, segments, *_needs(inputs)
    )
    mean, norm = segment_results(loss, loss if level == "head" else square, parts)
    if level == "head":  # (S,) already
        norm = (square.double().sqrt() * parts.inverse).to(dtype)
    if grad_norm is None:
        norm.fill_(torch.nan)
    return SegmentOutput(total, mean, parts.counts, norm)


def cast_as_linear(
    hidden: Tensor, head: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """What F.linear would multiply under autocast; without it, the tensors themselves."""
    if not under_autocast(hidden) or hidden.dtype == torch.float64:
        return hidden, head, bias
    dtype = torch.get_autocast_dtype(hidden.device.type)
    return hidden.to(dtype), head.to(dtype), None if bias is None else bias.to(dtype)


def _needs(inputs: LinearInputs) -> Needs:
    given = (inputs.hidden, inputs.head, inputs.bias)
    grad = torch.is_grad_enabled()
    return Needs(*(grad and x is not None and x.requires_grad for x in given))


def _is_row_problem(
    input: Tensor,
    head: Tensor,
    target: Tensor,
    bias: Tensor | None,
    weight: Tensor | None,
    reduction: str,
    smoothing: float,
) -> bool:
    """Whether this is a call the chunks compute; everything else is torch's, errors included."""
    if torch.overrides.has_torch_function_variadic(input, head, target, bias, weight):
        return False
    if input.dim() not in (1, 2) or head.dim() != 2:
        return False
    wide = torch.float64 in (input.dtype, head.dtype)  # which autocast leaves as it is
    same = input.dtype == head.dtype or (under_autocast(input) and not wide)
    floats = [t for t in (input, head, bias) if t is not None]
    shape, classes = input.shape[:-1], head.shape[0]
    return (
        all(t.dtype in FLOATS and t.device == input.device for t in floats)
        and same
        and (bias is None or (bias.shape == head.shape[:1] and bias.dtype == head.dtype))
        and input.shape[-1] == head.shape[1]
        and head.numel() > 0
        and rows_misfit(input, shape, classes, target, weight, reduction, smoothing) is None
    )


def _with_whole_logits(
    input: Tensor, head: Tensor, target: Tensor, bias: Tensor | None, keywords: dict[str, Any]
) -> Tensor:
    if hasattr(F, "linear_cross_entropy"):
        return F.linear_cross_entropy(input, head, target, linear_bias=bias, **keywords)
    if keywords.pop("options") is not None:
        raise ValueError("options need F.linear_cross_entropy, which torch has from 2.13 on")
    if keywords["ignore_index"] is None:
        keywords["ignore_index"] = -100
    sites = head.shape[1:-1]
    flat = None if bias is None else bias.reshape(-1)
    logits = F.linear(input, head.reshape(-1, head.shape[-1]), flat)
    return cross_entropy(
        logits.reshape(*input.shape[:-1], head.shape[0], *sites), target, **keywords
    )
