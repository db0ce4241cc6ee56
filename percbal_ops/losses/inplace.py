"""The gradient in the place of the logits: no memory beyond them, and what makes that safe."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from percbal_ops.gradients import padded, scaled
from percbal_ops.losses import library  # noqa: F401  defines weighted_cross_entropy_
from percbal_ops.losses.options import LossOptions
from percbal_ops.losses.reference import weighted_sum


def weighted_over_logits(
    logits: Tensor, index: Tensor, row_weight: Tensor, options: LossOptions
) -> tuple[Tensor, Tensor, Tensor]:
    """sum row_weight * loss (), differentiable; loss (N,) and squared gradient norm (N,), not.

    logits (..., V) are overwritten; index, row_weight (N,).
    """
    if torch.compiler.is_compiling():
        raise RuntimeError(
            "inplace=True is for eager mode: a compiled graph decides itself what it overwrites"
        )
    if logits.dtype == torch.float16:
        raise ValueError(
            "inplace=True does not take torch.float16, whose gradient waits for the loss scale"
        )
    return _OverLogits.apply(_whole(logits), logits.shape[-1], index, row_weight, options)[:3]


def _whole(logits: Tensor) -> Tensor:
    """The tensor that autograd has to hear of: `logits`, or what it is a view of, to the last
    element. (A gradient through a view of a part would need a copy of the whole.)"""
    whole = logits if logits._base is None else logits._base
    if whole.is_leaf:  # torch would notice after the writing
        kind = "leaf" if whole is logits else "view of a leaf"
        raise RuntimeError(
            f"a {kind} Variable that requires grad is being used in an in-place operation."
        )
    if whole.retains_grad or logits.retains_grad:  # torch would fail in the writing
        raise ValueError("inplace=True does not take logits with retain_grad(): nothing keeps them")
    if whole is not logits and logits._backward_hooks:  # the gradient goes to the base at once
        raise ValueError("inplace=True does not take a view with a hook: put it on the base")
    if not (whole.is_contiguous() and logits.is_contiguous() and whole.numel() == logits.numel()):
        raise ValueError(
            "inplace=True needs contiguous logits, with the classes last, that are all of their "
            f"memory; got shape {tuple(logits.shape)} and strides {tuple(logits.stride())}, "
            f"a part of {whole.numel()} elements"
        )
    return whole


class _OverLogits(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        whole: Tensor,
        classes: int,
        index: Tensor,
        row_weight: Tensor,
        options: LossOptions,
    ) -> tuple[Tensor, ...]:
        rows = whole.detach().view(-1, classes)
        loss, grad_sq = torch.ops.percbal.weighted_cross_entropy_(rows, index, row_weight, *options)
        total = weighted_sum(row_weight, loss, index != options.ignore_index)
        ctx.mark_dirty(whole)
        ctx.mark_non_differentiable(loss, grad_sq)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(whole)  # so that writing over it before backward is an error
        ctx.given_away = False
        return total, loss, grad_sq, whole

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        grad, _, _, of_logits = grads
        if of_logits is not None:
            raise RuntimeError("logits were used after a loss with inplace=True took their place")
        if torch.is_grad_enabled():
            raise RuntimeError("a loss with inplace=True cannot be differentiated twice")
        if ctx.given_away:
            raise RuntimeError("a loss with inplace=True has one backward: its logits are gone")
        if grad is None:
            return padded(ctx)
        ctx.given_away = True
        dlogits = ctx.saved_tensors[0].detach()
        return padded(ctx, (scaled(dlogits, grad, in_place=True),))
