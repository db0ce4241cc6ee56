"""What GRPO needs of a language-model head: per-token log-probability and entropy."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from percbal_ops.checks import check_linear, check_options, check_targets
from percbal_ops.linear import logprob_chunks, logprob_rows
from percbal_ops.linear.api import cast_as_linear
from percbal_ops.linear.library import TWICE
from percbal_ops.losses.reference import accumulate_dtype
from percbal_ops.renamed import renamed

INPUTS = "Tensor hidden, Tensor head, Tensor? bias, Tensor target"
OPTIONS = "int ignore_index, float temperature, float softcap"
SCHEMAS = {
    "linear_token_logprob": (
        f"({INPUTS}, {OPTIONS}) -> (Tensor logprob, Tensor entropy, Tensor stats)"
    ),
    "linear_token_logprob_backward": (
        f"(Tensor grad_logprob, Tensor grad_entropy, {INPUTS}, Tensor stats, {OPTIONS}, "
        "bool need_hidden, bool need_head, bool need_bias) "
        "-> (Tensor dhidden, Tensor dhead, Tensor dbias)"
    ),
    # one chunk of logits; the C++ library has both for the CPU
    "token_logprob_rows": (
        "(Tensor logits, Tensor target, float temperature, float softcap) "
        "-> (Tensor logprob, Tensor entropy, Tensor stats)"
    ),
    "token_logprob_gradient_": (
        "(Tensor(a!) logits, Tensor target, Tensor stats, Tensor grad_logprob, "
        "Tensor grad_entropy, float temperature, float softcap) -> ()"
    ),
}


@renamed(weight="head")
def linear_token_logprob(
    hidden: Tensor,
    head: Tensor,
    target: Tensor,
    *,
    bias: Tensor | None = None,
    temperature: float = 1.0,
    softcap: float | None = None,
    ignore_index: int = -100,
) -> tuple[Tensor, Tensor]:
    """Log-probability of each target and entropy of each token's distribution; (M2), (M11).

    Equal to ::

        logits = F.linear(hidden, head, bias).float()
        logits = softcap * torch.tanh(logits / softcap)  # if given
        logp = F.log_softmax(logits / temperature, dim=-1)
        logprob = logp.gather(-1, target[..., None])[..., 0]
        entropy = -(logp.exp() * logp).sum(-1)

    without holding the logits. Both are float32 (float64 for float64 input) and differentiable:
    backward computes the logits again, four GEMMs in all, and skips tokens whose upstream
    gradients are 0 (CPU). Differentiating twice raises RuntimeError.

    hidden: (..., D) float; head: (V, D) of the same dtype; bias: (V,); target: (...) int.
    A target of ignore_index gives log-probability 0 and entropy 0.
    Raises ValueError for shapes, dtypes and options that do not fit, IndexError for a target out of
    range (on CUDA only with PERCBAL_CHECK=1).
    """
    hidden, head, bias = cast_as_linear(hidden, head, bias)
    check_linear(hidden, head, bias, target=target)
    check_options(0.0, 0.0, softcap)
    if not temperature > 0.0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    index = target.reshape(-1).long()
    check_targets(index, head.shape[0], ignore_index)
    logprob, entropy, _ = torch.ops.percbal.linear_token_logprob(
        hidden.flatten(0, -2), head, bias, index, ignore_index, temperature, softcap or 0.0
    )
    return logprob.reshape(target.shape), entropy.reshape(target.shape)


_library = torch.library.Library("percbal", "FRAGMENT")
for _name, _schema in SCHEMAS.items():
    _library.define(_name + _schema, tags=torch.Tag.pt2_compliant_tag)
    _module = logprob_chunks if _name.startswith("linear") else logprob_rows
    _library.impl(_name, getattr(_module, _name), "CompositeExplicitAutograd")


@torch.library.register_fake("percbal::linear_token_logprob")
def _(hidden: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    logprob = hidden.new_empty(hidden.shape[0], dtype=accumulate_dtype(hidden))
    return logprob, torch.empty_like(logprob), logprob.new_empty(len(logprob), 5)


@torch.library.register_fake("percbal::linear_token_logprob_backward")
def _(a: Tensor, b: Tensor, hidden: Tensor, head: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    need_hidden, need_head, need_bias = rest[-3:]
    return (
        hidden.new_empty(hidden.shape if need_hidden else 0),
        head.new_empty(head.shape if need_head else 0),
        head.new_empty(head.shape[0] if need_bias else 0),
    )


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    hidden, head, bias, target, *ctx.options = inputs
    stats = output[2]
    ctx.mark_non_differentiable(stats)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(hidden, head, bias, target, stats)


def _backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
    given = [g for g in grads[:2] if g is not None]
    if not given:
        return (None,) * 7
    if torch.is_grad_enabled():
        raise RuntimeError(TWICE.format("linear_token_logprob"))
    upstream = [torch.zeros_like(given[0]) if g is None else g for g in grads[:2]]
    needs = ctx.needs_input_grad[:3]
    results = torch.ops.percbal.linear_token_logprob_backward(
        *upstream, *ctx.saved_tensors, *ctx.options, *needs
    )
    return tuple(r if n else None for r, n in zip(results, needs, strict=True)) + (None,) * 4


torch.library.register_autograd("percbal::linear_token_logprob", _backward, setup_context=_setup)
