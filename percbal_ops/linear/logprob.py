"""What GRPO needs of a language-model head: per-token log-probability and entropy."""

from __future__ import annotations

import torch
from torch import Tensor

from percbal_ops.checks import (
    check_backward_only,
    check_linear,
    check_options,
    check_positive,
    check_targets,
)
from percbal_ops.linear import library  # noqa: F401  defines the operators used here
from percbal_ops.linear.api import cast_as_linear
from percbal_ops.linear.inputs import LinearInputs, LogprobOptions
from percbal_ops.renamed import renamed


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
    gradients are 0 (on CUDA where that pays for the wait, docs/linear.md). Differentiating twice
    raises RuntimeError.

    hidden: (..., D) float; head: (V, D) of the same dtype; bias: (V,); target: (...) int.
    A target of ignore_index gives log-probability 0 and entropy 0.
    Raises ValueError for shapes, dtypes, devices and options that do not fit, IndexError for a
    target out of range (on CUDA only with PERCBAL_CHECK=1).
    """
    plain = "F.linear and F.log_softmax"
    check_backward_only("linear_token_logprob", plain, hidden, head, bias, target)
    hidden, head, bias = cast_as_linear(hidden, head, bias)
    check_linear(hidden, head, bias, target=target)
    check_options(0.0, 0.0, softcap)
    check_positive(temperature=temperature)
    index = target.reshape(-1).long()
    check_targets(index, head.shape[0], ignore_index)
    inputs = LinearInputs(hidden.flatten(0, -2), head, bias, index)
    options = LogprobOptions(ignore_index, temperature, softcap or 0.0)
    logprob, entropy, _ = torch.ops.percbal.linear_token_logprob(*inputs, *options)
    return logprob.reshape(target.shape), entropy.reshape(target.shape)
