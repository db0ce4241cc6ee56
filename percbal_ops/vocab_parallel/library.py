"""Schemas, shapes under tracing and the gradient of the operators behind api.py."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from percbal_ops.gradients import padded
from percbal_ops.losses import library  # noqa: F401  defines the namespace of the operators
from percbal_ops.losses.options import LossOptions
from percbal_ops.losses.reference import accumulate_dtype
from percbal_ops.vocab_parallel import rows as whole_rows

SCHEMAS = {
    "vocab_parallel_rows": (
        "(Tensor logits, Tensor target, Tensor? weight, int vocab_start, int ignore_index, "
        "float label_smoothing, float z_loss, float softcap, str group) "
        "-> (Tensor loss, Tensor grad_sq, Tensor merged)"
    ),
    "vocab_parallel_rows_backward": (
        "(Tensor row_grad, Tensor logits, Tensor target, Tensor? weight, Tensor merged, "
        "int vocab_start, int ignore_index, float softcap) -> Tensor"
    ),
}


def _rows(
    logits: Tensor, target: Tensor, weight: Tensor | None, vocab_start: int, *rest: Any
) -> tuple[Tensor, Tensor, Tensor]:
    *numbers, group = rest
    options = LossOptions(weight, *numbers)
    return whole_rows.vocab_parallel_rows(logits, target, vocab_start, options, group)


PLAIN = {
    "vocab_parallel_rows": _rows,
    "vocab_parallel_rows_backward": whole_rows.vocab_parallel_rows_backward,
}
_library = torch.library.Library("percbal", "FRAGMENT")
for _name, _schema in SCHEMAS.items():
    _library.define(_name + _schema, tags=torch.Tag.pt2_compliant_tag)
    _library.impl(_name, PLAIN[_name], "CompositeExplicitAutograd")


@torch.library.register_fake("percbal::vocab_parallel_rows")
def _(logits: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    loss = logits.new_empty(logits.shape[0], dtype=accumulate_dtype(logits))
    merged = loss.new_empty(len(whole_rows.MERGED), logits.shape[0])
    return loss, torch.empty_like(loss), merged


@torch.library.register_fake("percbal::vocab_parallel_rows_backward")
def _(row_grad: Tensor, logits: Tensor, *rest: Any) -> Tensor:
    return logits.new_empty(logits.shape)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    logits, target, weight, vocab_start, *numbers, _ = inputs
    options = LossOptions(weight, *numbers)
    ctx.place = (vocab_start, options.ignore_index, options.softcap)
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(logits, target, weight, output[2])


def _backward(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    if grad is None:
        return padded(ctx)
    if torch.is_grad_enabled():
        raise RuntimeError(
            "a vocab-parallel cross-entropy cannot be differentiated twice: "
            "its gradient is computed from statistics that are not part of the graph"
        )
    dlogits = torch.ops.percbal.vocab_parallel_rows_backward(grad, *ctx.saved_tensors, *ctx.place)
    return padded(ctx, (dlogits,))


torch.library.register_autograd("percbal::vocab_parallel_rows", _backward, setup_context=_setup)
