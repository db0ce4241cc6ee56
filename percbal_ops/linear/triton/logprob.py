"""The row operators of linear_token_logprob on CUDA (and ROCm) by Triton."""

from __future__ import annotations

import triton
from torch import Tensor

from percbal_ops.linear.triton.logprob_kernels import logprob_gradient_kernel, logprob_kernel
from percbal_ops.losses.reference import accumulate_dtype
from percbal_ops.losses.triton.launch import (
    on_device_of,
    rows_are_shifted,
    tiling,
    with_unit_columns,
)


def token_logprob_rows(
    logits: Tensor, target: Tensor, temperature: float, softcap: float
) -> tuple[Tensor, Tensor, Tensor]:
    """As logprob_rows.token_logprob_rows, from one read of the logits."""
    logits = with_unit_columns(logits)
    n, vocab = logits.shape
    logprob = logits.new_empty(n, dtype=accumulate_dtype(logits))
    entropy, stats = logprob.new_empty(n), logprob.new_empty(n, 5)
    if n == 0:
        return logprob, entropy, stats
    block, warps = tiling(logits.element_size(), softcap != 0)
    with on_device_of(logits):
        logprob_kernel[(n,)](
            logits,
            target,
            logprob,
            entropy,
            stats,
            vocab,
            logits.stride(0),
            target.stride(0),
            temperature,
            softcap,
            CAPPED=softcap != 0,
            SHIFTED=rows_are_shifted(logits),
            BLOCK=block,
            num_warps=warps,
            enable_fp_fusion=True,
        )
    return logprob, entropy, stats


def token_logprob_gradient_(
    logits: Tensor,
    target: Tensor,
    stats: Tensor,
    grad_logprob: Tensor,
    grad_entropy: Tensor,
    temperature: float,
    softcap: float,
) -> None:
    """As logprob_rows.token_logprob_gradient_: one read, one write."""
    n, vocab = logits.shape
    if not logits.is_contiguous():
        raise ValueError(
            "logits must be contiguous to be written in place, "
            f"got shape {tuple(logits.shape)} with strides {logits.stride()}"
        )
    if n == 0:
        return
    block, warps = tiling(logits.element_size(), softcap != 0)
    shifted = rows_are_shifted(logits)
    with on_device_of(logits):
        logprob_gradient_kernel[(n * triton.cdiv(vocab + 15 if shifted else vocab, block),)](
            logits,
            target,
            stats.contiguous(),
            grad_logprob.contiguous(),
            grad_entropy.contiguous(),
            vocab,
            target.stride(0),
            temperature,
            softcap,
            CAPPED=softcap != 0,
            SHIFTED=shifted,
            BLOCK=block,
            num_warps=warps,
            enable_fp_fusion=True,
        )
