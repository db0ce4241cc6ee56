"""Schemas, shapes under tracing and gradients of the operators that start from logits.

Each operator is defined here, with the reference behind it wherever no kernel serves, on devices
that have float64 (CompositeExplicitAutograd). C++, where it was built, overrides the CPU key
(csrc/cpu/cross_entropy.cpp); CUDA_KERNELS serve the CUDA key. Other packages of operators add
theirs to the namespace, each in its own library.py.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from percbal_ops import dispatch
from percbal_ops.gradients import padded, saved_by_hooks, scaled
from percbal_ops.losses import reference, segments
from percbal_ops.losses.options import OPTIONS, LossOptions, packed
from percbal_ops.losses.reference import accumulate_dtype

SCHEMAS = {
    "token_cross_entropy": (
        f"(Tensor logits, Tensor target, {OPTIONS}) -> (Tensor loss, Tensor grad_sq, Tensor stats)"
    ),
    "token_cross_entropy_backward": (
        "(Tensor row_grad, Tensor logits, Tensor target, Tensor? weight, Tensor stats, "
        "int ignore_index, float label_smoothing, float z_loss, float softcap) -> Tensor"
    ),
    "weighted_cross_entropy": (
        f"(Tensor logits, Tensor target, Tensor row_weight, {OPTIONS}, bool need_grad) "
        "-> (Tensor total, Tensor loss, Tensor grad_sq, Tensor dlogits)"
    ),
    "weighted_cross_entropy_": (
        f"(Tensor(a!) logits, Tensor target, Tensor row_weight, {OPTIONS}) "
        "-> (Tensor loss, Tensor grad_sq)"
    ),
    "scale_": "(Tensor(a!) x, Tensor factor) -> ()",
}
# Around a segment loss; losses/segments.py.
SEGMENT_SCHEMAS = {
    "split_segments": (
        "(Tensor target, Tensor segment_ids, Tensor weights, Tensor? given_counts, "
        "int ignore_index) -> (Tensor counts, Tensor inverse, Tensor row_weight, "
        "Tensor masked_target, Tensor ids)"
    ),
    "segment_results": (
        "(Tensor loss, Tensor square, Tensor ids, Tensor inverse) -> (Tensor mean, Tensor norm)"
    ),
}
PLAIN_SEGMENTS: dict[str, Callable[..., Any]] = {
    "split_segments": segments.split_segments,
    "segment_results": segments.plain_segment_results,
}
# No tensor in it, so no device: the C++ library overrides it whole.
EMPTY_CACHE = "empty_cache() -> int"
# Whose functions serve CUDA tensors, by the name that dispatch.py has chosen.
CUDA_KERNELS = {
    "triton": "percbal_ops.losses.triton.launch",
    "cuda": "percbal_ops.losses.triton.hopper",  # C++ where it applies, else Triton
    "reference": "percbal_ops.losses.reference",
}

_library = torch.library.Library("percbal", "DEF")


def cuda_kernels() -> ModuleType:
    """Imported when first used: Triton takes a while."""
    return importlib.import_module(CUDA_KERNELS[dispatch.cuda_backend()])


def _on_cuda(name: str) -> Callable[..., Any]:
    dispatch.SERVED.add(name)

    def run(*args: Any) -> Any:
        return getattr(cuda_kernels(), name)(*args)

    return run


for _name, _schema in SCHEMAS.items():
    _library.define(_name + _schema, tags=torch.Tag.pt2_compliant_tag)
    _library.impl(_name, getattr(reference, _name), "CompositeExplicitAutograd")
    _library.impl(_name, _on_cuda(_name), "CUDA")
for _name, _schema in SEGMENT_SCHEMAS.items():
    _library.define(_name + _schema, tags=torch.Tag.pt2_compliant_tag)
    _plain = PLAIN_SEGMENTS[_name]
    _library.impl(_name, _plain, "CompositeExplicitAutograd")
    _triton = dispatch.triton_or(_plain, "percbal_ops.losses.triton.segments", _name)
    _library.impl(_name, _triton, "CUDA")

_library.define(EMPTY_CACHE)
_library.impl("empty_cache", lambda: 0, "CompositeExplicitAutograd")

# Loading the extension registers its kernels under the CPU key.
with contextlib.suppress(ImportError):
    from percbal_ops import _C  # type: ignore[attr-defined] # noqa: F401


@torch.library.register_fake("percbal::token_cross_entropy")
def _(logits: Tensor, target: Tensor, *options: Any) -> tuple[Tensor, Tensor, Tensor]:
    rows = logits.new_empty(logits.shape[0], dtype=accumulate_dtype(logits))
    return rows, torch.empty_like(rows), rows.new_empty(logits.shape[0], 4)


@torch.library.register_fake("percbal::token_cross_entropy_backward")
def _(row_grad: Tensor, logits: Tensor, *rest: Any) -> Tensor:
    return logits.new_empty(logits.shape)


@torch.library.register_fake("percbal::weighted_cross_entropy")
def _(
    logits: Tensor, target: Tensor, row_weight: Tensor, *options: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rows = logits.new_empty(logits.shape[0], dtype=accumulate_dtype(logits))
    need_grad = options[-1]
    dlogits = logits.new_empty(logits.shape if need_grad else 0)
    return rows.new_empty(()), rows, torch.empty_like(rows), dlogits


@torch.library.register_fake("percbal::weighted_cross_entropy_")
def _(logits: Tensor, target: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    loss = logits.new_empty(target.shape[0], dtype=accumulate_dtype(logits))
    return loss, torch.empty_like(loss)


@torch.library.register_fake("percbal::split_segments")
def _(target: Tensor, ids: Tensor, weights: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    counts = weights.new_empty(weights.shape[0], dtype=torch.int64)
    rows = counts.new_empty(target.shape[0])
    inverse = weights.new_empty(weights.shape[0], dtype=torch.float64)
    return counts, inverse, weights.new_empty(target.shape[0]), rows, torch.empty_like(rows)


@torch.library.register_fake("percbal::segment_results")
def _(loss: Tensor, square: Tensor, ids: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor]:
    mean = loss.new_empty(inverse.shape[0])
    return mean, torch.empty_like(mean)


@torch.library.register_fake("percbal::scale_")
def _(x: Tensor, factor: Tensor) -> None:
    return None


def _setup_token(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    logits, target, *flat = inputs
    _, grad_sq, stats = output
    options = LossOptions(*flat)
    ctx.numbers = options.numbers
    ctx.mark_non_differentiable(grad_sq, stats)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(logits, target, options.class_weight, stats)


def _backward_token(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    if grad is None:
        return padded(ctx)
    logits, target, class_weight, stats = ctx.saved_tensors
    if torch.is_grad_enabled():  # create_graph: a backward that can itself be differentiated
        options = LossOptions(class_weight, *ctx.numbers)
        dlogits = reference.logit_gradient(grad, logits, target, options)
    else:
        dlogits = torch.ops.percbal.token_cross_entropy_backward(
            grad, logits, target, class_weight, stats, *ctx.numbers
        )
    return padded(ctx, (dlogits,))


def _setup_weighted(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    logits, target, row_weight, *flat = inputs
    _, loss, grad_sq, dlogits = output
    options, _ = packed(flat)
    ctx.numbers = options.numbers
    ctx.mark_non_differentiable(loss, grad_sq, dlogits)
    ctx.set_materialize_grads(False)
    saved, ctx.dlogits = (dlogits, None) if saved_by_hooks() else (None, dlogits)
    ctx.save_for_backward(logits, target, row_weight, options.class_weight, saved)


def _backward_weighted(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    if grad is None:
        return padded(ctx)
    logits, target, row_weight, class_weight, saved = ctx.saved_tensors
    dlogits, ctx.dlogits = (ctx.dlogits if saved is None else saved), None
    options = LossOptions(class_weight, *ctx.numbers)
    if torch.is_grad_enabled():  # create_graph: a backward that can itself be differentiated
        row_grad = grad * row_weight
        return padded(ctx, (reference.logit_gradient(row_grad, logits, target, options),))
    if dlogits is None:  # a second backward over the same graph: the same kernel, the same bits
        dlogits = torch.ops.percbal.weighted_cross_entropy(
            logits, target, row_weight, *options, True
        )[3]
    return padded(ctx, (scaled(dlogits, grad, in_place=saved is None),))


torch.library.register_autograd(
    "percbal::token_cross_entropy", _backward_token, setup_context=_setup_token
)
torch.library.register_autograd(
    "percbal::weighted_cross_entropy", _backward_weighted, setup_context=_setup_weighted
)


class _Weighted(torch.autograd.Function):
    """The same gradient without the generic wrapper, which reads the schema in every call: two
    thirds of its host time."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> tuple[Tensor, ...]:
        output = torch.ops.percbal.weighted_cross_entropy.default(*args)
        _setup_weighted(ctx, args, output)
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        return _backward_weighted(ctx, *grads)


def weighted_cross_entropy(
    logits: Tensor, target: Tensor, row_weight: Tensor, options: LossOptions, need_grad: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """torch.ops.percbal.weighted_cross_entropy, by the shortest way."""
    if torch.compiler.is_compiling() or not need_grad:
        return torch.ops.percbal.weighted_cross_entropy(
            logits, target, row_weight, *options, need_grad
        )
    return _Weighted.apply(logits, target, row_weight, *options, need_grad)
