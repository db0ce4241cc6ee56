"""Schemas, shapes under tracing and gradients of the operators that start from hidden states."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from percbal_ops.linear import chunks
from percbal_ops.losses.library import OPTIONS
from percbal_ops.losses.reference import accumulate_dtype

INPUTS = "Tensor hidden, Tensor head, Tensor? bias, Tensor target"
SCHEMAS = {
    "linear_weighted_cross_entropy": (
        f"({INPUTS}, Tensor row_weight, Tensor? segment, {OPTIONS}, str level, int segments, "
        "bool need_hidden, bool need_head, bool need_bias) -> (Tensor total, Tensor loss, "
        "Tensor square, Tensor unit, Tensor dhidden, Tensor dhead, Tensor dbias)"
    ),
    "linear_token_cross_entropy": f"({INPUTS}, {OPTIONS}) -> Tensor loss",
    # The logits of n <= D rows in tiles in the memory of a (V, D): percbal_ops/linear/room.py.
    "tiled_weighted_cross_entropy_": (
        f"(Tensor(a!) room, Tensor target, Tensor row_weight, {OPTIONS}, int tile) "
        "-> (Tensor loss, Tensor grad_sq)"
    ),
    # Memory that is about to be written for the first time: fewer, larger page faults on the CPU.
    "advise_huge_pages_": "(Tensor(a!) x) -> ()",
}
TWICE = (
    "{} cannot be differentiated twice: its logits are never held; "
    "for create_graph=True start from torch.nn.functional.linear"
)

_library = torch.library.Library("percbal", "FRAGMENT")


def _tiled_through_rows(
    room: Tensor, target: Tensor, row_weight: Tensor, *rest: Any
) -> tuple[Tensor, Tensor]:
    """The same for logits in tiles, by a copy that has them in rows."""
    *options, tile = rest
    n = target.shape[0]
    pieces = [part.view(-1)[: n * len(part)].view(n, len(part)) for part in room.split(tile)]
    logits = torch.cat(pieces, 1)
    loss, grad_sq = torch.ops.percbal.weighted_cross_entropy_(logits, target, row_weight, *options)
    for piece, columns in zip(pieces, logits.split(tile, 1), strict=True):
        piece.copy_(columns)
    return loss, grad_sq


for _name, _schema in SCHEMAS.items():
    _library.define(_name + _schema, tags=torch.Tag.pt2_compliant_tag)
for _name in ("linear_weighted_cross_entropy", "linear_token_cross_entropy"):
    _library.impl(_name, getattr(chunks, _name), "CompositeExplicitAutograd")
_library.impl("tiled_weighted_cross_entropy_", _tiled_through_rows, "CompositeExplicitAutograd")

_library.impl("advise_huge_pages_", lambda x: None, "CompositeExplicitAutograd")


@torch.library.register_fake("percbal::tiled_weighted_cross_entropy_")
def _(logits: Tensor, target: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    loss = logits.new_empty(target.shape[0], dtype=accumulate_dtype(logits))
    return loss, torch.empty_like(loss)


@torch.library.register_fake("percbal::linear_token_cross_entropy")
def _(hidden: Tensor, *rest: Any) -> Tensor:
    return hidden.new_empty(hidden.shape[0], dtype=accumulate_dtype(hidden))


@torch.library.register_fake("percbal::linear_weighted_cross_entropy")
def _(hidden: Tensor, head: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    level, segments, need_hidden, need_head, need_bias = rest[-5:]
    loss = hidden.new_empty(hidden.shape[0], dtype=accumulate_dtype(hidden))
    return (
        loss.new_empty(()),
        loss,
        loss.new_empty(segments) if level == "head" else torch.empty_like(loss),
        loss.new_empty(()),
        hidden.new_empty(hidden.shape if need_hidden else 0),
        head.new_empty(head.shape if need_head else 0),
        head.new_empty(head.shape[0] if need_bias else 0),
    )


def _setup_weighted(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ignore_index, smoothing, z_loss, softcap, _, _ = inputs[:-3]
    hidden, head, bias, target, row_weight, _, weight = tensors
    ctx.options, ctx.needs = (ignore_index, smoothing, z_loss, softcap), inputs[-3:]
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(hidden, head, bias, target, row_weight, weight)
    # Not saved as tensors of the graph: the first backward scales them in place, gives them away.
    ctx.unit, ctx.gradients = output[3], output[4:]


def _backward_weighted(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    if grad is None:
        return (None,) * 16
    if torch.is_grad_enabled():
        raise RuntimeError(TWICE.format("a linear cross-entropy"))
    gradients, ctx.gradients = ctx.gradients, None
    factor = grad * ctx.unit
    if gradients is None:  # a second backward over the same graph
        hidden, head, bias, target, row_weight, weight = ctx.saved_tensors
        gradients = _recompute(
            grad * row_weight, hidden, head, bias, target, weight, ctx.options, ctx.needs
        )
    else:
        gradients = [_scaled(g, factor) for g in gradients]
    return _where_needed(gradients, ctx.needs) + (None,) * 13


def _setup_token(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    hidden, head, bias, target, weight, *ctx.options = inputs
    ctx.save_for_backward(hidden, head, bias, target, weight)


def _backward_token(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """Row weights that are known only now: logits again, then two more GEMMs, four in all."""
    if torch.is_grad_enabled():
        raise RuntimeError(TWICE.format("a linear cross-entropy"))
    needs = ctx.needs_input_grad[:3]
    hidden, head, bias, target, weight = ctx.saved_tensors
    gradients = _recompute(grad, hidden, head, bias, target, weight, ctx.options, needs)
    return _where_needed(gradients, needs) + (None,) * 6


def _recompute(
    row_weight: Tensor,
    hidden: Tensor,
    head: Tensor,
    bias: Tensor | None,
    target: Tensor,
    weight: Tensor | None,
    options: Any,
    needs: Any,
) -> list[Tensor]:
    results = torch.ops.percbal.linear_weighted_cross_entropy(
        hidden, head, bias, target, row_weight, None, weight, *options, "logits", 0, *needs
    )
    return [_scaled(g, results[3]) for g in results[4:]]


def _scaled(gradient: Tensor, factor: Tensor) -> Tensor:
    if type(gradient) is not Tensor:
        # traced: a compiled graph must not write over what its forward returned
        return (gradient * factor).to(gradient.dtype)
    torch.ops.percbal.scale_(gradient, factor)
    return gradient


def _where_needed(gradients: Any, needs: Any) -> tuple[Tensor | None, ...]:
    return tuple(g if need else None for g, need in zip(gradients, needs, strict=True))


torch.library.register_autograd(
    "percbal::linear_weighted_cross_entropy", _backward_weighted, setup_context=_setup_weighted
)
torch.library.register_autograd(
    "percbal::linear_token_cross_entropy", _backward_token, setup_context=_setup_token
)
