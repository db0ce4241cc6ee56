"""Schemas, shapes under tracing and gradients of the operators that start from hidden states.

The functions behind them (chunks.py, logprob_chunks.py, room.py, logprob_rows.py) need no kernel;
C++ overrides those on logits for the CPU (csrc/cpu/cross_entropy.cpp, token_logprob.cpp), Triton
those of log-probabilities for CUDA (triton/).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from percbal_ops import dispatch
from percbal_ops.gradients import padded, saved_by_hooks, scaled
from percbal_ops.linear import chunks, logprob_chunks, logprob_rows, room
from percbal_ops.linear.inputs import (
    INPUTS,
    LOGPROB_OPTIONS,
    NEEDS,
    LinearInputs,
    LogprobOptions,
    Needs,
)
from percbal_ops.losses import library  # noqa: F401  defines the namespace and its operators
from percbal_ops.losses.options import OPTIONS, LossOptions, packed
from percbal_ops.losses.reference import accumulate_dtype

GRADIENTS = "Tensor dhidden, Tensor dhead, Tensor dbias"
SCHEMAS = {
    "linear_weighted_cross_entropy": (
        f"({INPUTS}, Tensor row_weight, Tensor? segment, {OPTIONS}, str level, int segments, "
        f"{NEEDS}) -> (Tensor total, Tensor loss, Tensor square, Tensor unit, {GRADIENTS})"
    ),
    "linear_token_cross_entropy": f"({INPUTS}, {OPTIONS}) -> Tensor loss",
    "linear_token_logprob": (
        f"({INPUTS}, {LOGPROB_OPTIONS}) -> (Tensor logprob, Tensor entropy, Tensor stats)"
    ),
    "linear_token_logprob_backward": (
        f"(Tensor grad_logprob, Tensor grad_entropy, {INPUTS}, Tensor stats, {LOGPROB_OPTIONS}, "
        f"{NEEDS}) -> ({GRADIENTS})"
    ),
    # The logits of n <= D rows in tiles in the memory of a (V, D).
    "tiled_weighted_cross_entropy_": (
        f"(Tensor(a!) room, Tensor target, Tensor row_weight, {OPTIONS}, int tile) "
        "-> (Tensor loss, Tensor grad_sq)"
    ),
    # One chunk of logits.
    "token_logprob_rows": (
        "(Tensor logits, Tensor target, float temperature, float softcap) "
        "-> (Tensor logprob, Tensor entropy, Tensor stats)"
    ),
    "token_logprob_gradient_": (
        "(Tensor(a!) logits, Tensor target, Tensor stats, Tensor grad_logprob, "
        "Tensor grad_entropy, float temperature, float softcap) -> ()"
    ),
    # Memory that is about to be written for the first time: fewer, larger page faults on the CPU.
    "advise_huge_pages_": "(Tensor(a!) x) -> ()",
}
TWICE = (
    "{} cannot be differentiated twice: its logits are never held; "
    "for create_graph=True start from torch.nn.functional.linear"
)


def _weighted(*flat: Any) -> chunks.LinearResult:
    inputs, (row_weight, segment, *rest) = _inputs(flat)
    options, level, segments, *needs = packed(rest)
    return chunks.linear_weighted_cross_entropy(
        inputs, row_weight, segment, options, level, segments, Needs(*needs)
    )


def _token(*flat: Any) -> Tensor:
    inputs, options = _inputs(flat)
    return chunks.linear_token_cross_entropy(inputs, LossOptions(*options))


def _logprob(*flat: Any) -> tuple[Tensor, Tensor, Tensor]:
    inputs, options = _inputs(flat)
    return logprob_chunks.linear_token_logprob(inputs, LogprobOptions(*options))


def _logprob_gradients(
    grad_logprob: Tensor, grad_entropy: Tensor, *flat: Any
) -> tuple[Tensor, Tensor, Tensor]:
    inputs, (stats, *rest) = _inputs(flat)
    options, needs = LogprobOptions(*rest[:-3]), Needs(*rest[-3:])
    return logprob_chunks.linear_token_logprob_backward(
        grad_logprob, grad_entropy, inputs, stats, options, needs
    )


def _inputs(flat: Sequence[Any]) -> tuple[LinearInputs, Sequence[Any]]:
    """Flat arguments from INPUTS on -> those, and what follows them."""
    return LinearInputs(*flat[:4]), flat[4:]


PLAIN: dict[str, Callable[..., Any]] = {
    "linear_weighted_cross_entropy": _weighted,
    "linear_token_cross_entropy": _token,
    "linear_token_logprob": _logprob,
    "linear_token_logprob_backward": _logprob_gradients,
    "tiled_weighted_cross_entropy_": room.tiled_weighted_cross_entropy_,
    "token_logprob_rows": logprob_rows.token_logprob_rows,
    "token_logprob_gradient_": logprob_rows.token_logprob_gradient_,
    "advise_huge_pages_": lambda x: None,
}
_library = torch.library.Library("percbal", "FRAGMENT")
for _name, _schema in SCHEMAS.items():
    _library.define(_name + _schema, tags=torch.Tag.pt2_compliant_tag)
    _library.impl(_name, PLAIN[_name], "CompositeExplicitAutograd")
for _name in ("token_logprob_rows", "token_logprob_gradient_"):
    _triton = dispatch.triton_or(PLAIN[_name], "percbal_ops.linear.triton.logprob", _name)
    _library.impl(_name, _triton, "CUDA")


@torch.library.register_fake("percbal::tiled_weighted_cross_entropy_")
def _(logits: Tensor, target: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    loss = logits.new_empty(target.shape[0], dtype=accumulate_dtype(logits))
    return loss, torch.empty_like(loss)


@torch.library.register_fake("percbal::linear_token_cross_entropy")
def _(hidden: Tensor, *rest: Any) -> Tensor:
    return hidden.new_empty(hidden.shape[0], dtype=accumulate_dtype(hidden))


@torch.library.register_fake("percbal::linear_weighted_cross_entropy")
def _(hidden: Tensor, head: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    level, segments, *needs = rest[-5:]
    loss = hidden.new_empty(hidden.shape[0], dtype=accumulate_dtype(hidden))
    return (
        loss.new_empty(()),
        loss,
        loss.new_empty(segments) if level == "head" else torch.empty_like(loss),
        loss.new_empty(()),
        *_empty_gradients(hidden, head, Needs(*needs)),
    )


@torch.library.register_fake("percbal::linear_token_logprob")
def _(hidden: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    logprob = hidden.new_empty(hidden.shape[0], dtype=accumulate_dtype(hidden))
    return logprob, torch.empty_like(logprob), logprob.new_empty(logprob.shape[0], 5)


@torch.library.register_fake("percbal::linear_token_logprob_backward")
def _(a: Tensor, b: Tensor, hidden: Tensor, head: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    return _empty_gradients(hidden, head, Needs(*rest[-3:]))


def _empty_gradients(hidden: Tensor, head: Tensor, needs: Needs) -> tuple[Tensor, Tensor, Tensor]:
    return (
        hidden.new_empty(hidden.shape if needs.hidden else 0),
        head.new_empty(head.shape if needs.head else 0),
        head.new_empty(head.shape[0] if needs.bias else 0),
    )


def _setup_weighted(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    given, (row_weight, _, *rest) = _inputs(inputs)
    options, _, _, *needs = packed(rest)
    ctx.numbers, ctx.needs = options.numbers, Needs(*needs)
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)
    ctx.unit, gradients = output[3], output[4:]
    saved, ctx.gradients = (gradients, None) if saved_by_hooks() else ((), gradients)
    ctx.save_for_backward(*given, row_weight, options.class_weight, *saved)


def _backward_weighted(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    if grad is None:
        return padded(ctx)
    if torch.is_grad_enabled():
        raise RuntimeError(TWICE.format("a linear cross-entropy"))
    kept = ctx.saved_tensors  # once: hooks may hand them out no second time
    (*inputs, row_weight, class_weight), saved = kept[:6], kept[6:]
    gradients, ctx.gradients = saved or ctx.gradients, None
    factor = grad * ctx.unit
    if gradients is None:  # a second backward over the same graph
        options = LossOptions(class_weight, *ctx.numbers)
        gradients = _recomputed(LinearInputs(*inputs), grad * row_weight, options, ctx.needs)
    else:
        gradients = [scaled(g, factor, in_place=not saved) for g in gradients]
    return padded(ctx, _where_needed(gradients, ctx.needs))


def _setup_token(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    given, rest = _inputs(inputs)
    options = LossOptions(*rest)
    ctx.numbers = options.numbers
    ctx.save_for_backward(*given, options.class_weight)


def _backward_token(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """Row weights that are known only now: logits again, then two more GEMMs, four in all."""
    if torch.is_grad_enabled():
        raise RuntimeError(TWICE.format("a linear cross-entropy"))
    needs = Needs(*ctx.needs_input_grad[:3])
    *inputs, class_weight = ctx.saved_tensors
    options = LossOptions(class_weight, *ctx.numbers)
    gradients = _recomputed(LinearInputs(*inputs), grad, options, needs)
    return padded(ctx, _where_needed(gradients, needs))


def _recomputed(
    inputs: LinearInputs, row_weight: Tensor, options: LossOptions, needs: Needs
) -> list[Tensor]:
    results = torch.ops.percbal.linear_weighted_cross_entropy(
        *inputs, row_weight, None, *options, "logits", 0, *needs
    )
    return [scaled(g, results[3], in_place=True) for g in results[4:]]


def _where_needed(gradients: Any, needs: Needs) -> tuple[Tensor | None, ...]:
    return tuple(g if need else None for g, need in zip(gradients, needs, strict=True))


def _setup_logprob(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    given, ctx.options = _inputs(inputs)
    stats = output[2]
    ctx.mark_non_differentiable(stats)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*given, stats)


def _backward_logprob(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
    given = [g for g in grads[:2] if g is not None]
    if not given:
        return padded(ctx)
    if torch.is_grad_enabled():
        raise RuntimeError(TWICE.format("linear_token_logprob"))
    upstream = [torch.zeros_like(given[0]) if g is None else g for g in grads[:2]]
    needs = Needs(*ctx.needs_input_grad[:3])
    gradients = torch.ops.percbal.linear_token_logprob_backward(
        *upstream, *ctx.saved_tensors, *ctx.options, *needs
    )
    return padded(ctx, _where_needed(gradients, needs))


for _name, _backward, _setup in (
    ("linear_weighted_cross_entropy", _backward_weighted, _setup_weighted),
    ("linear_token_cross_entropy", _backward_token, _setup_token),
    ("linear_token_logprob", _backward_logprob, _setup_logprob),
):
    torch.library.register_autograd(f"percbal::{_name}", _backward, setup_context=_setup)
