"""Inputs of the C++ cross-entropy on the CPU, and one call of each of its operators."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import percbal_ops.losses.library  # noqa: F401  defines torch.ops.percbal

PLAIN = (-100, 0.0, 0.0, 0.0)  # ignore_index, label_smoothing, z_loss, softcap
OPTIONS = {
    "plain": PLAIN,
    "smooth": (-100, 0.1, 0.0, 0.0),
    "z-loss": (-100, 0.0, 1e-2, 0.0),
    "softcap": (-100, 0.0, 0.0, 4.0),
    "all": (-100, 0.1, 1e-2, 4.0),
}
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
Case = dict[str, Any]


def acc(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def case(
    logits: Tensor, target: Tensor, options: tuple[Any, ...] = PLAIN, weight: Tensor | None = None
) -> Case:
    rows = torch.linspace(-0.5, 1.5, logits.shape[0], dtype=acc(logits.dtype))
    return {
        "logits": logits,
        "target": target,
        "row_weight": rows,
        "weight": None if weight is None else weight.to(rows.dtype),
        "options": options,
    }


def random_case(dtype: torch.dtype, vocab: int, options: tuple[Any, ...], weighted: bool) -> Case:
    g = torch.Generator().manual_seed(vocab)
    rows = 3 if vocab > 5000 else 5
    logits = (3 * torch.randn(rows, vocab, generator=g)).to(dtype)
    target = torch.randint(0, vocab, (rows,), generator=g)
    target[0], target[1], target[2] = 0, vocab - 1, -100
    return case(logits, target, options, torch.rand(vocab, generator=g) if weighted else None)


def run(inputs: Case) -> dict[str, Tensor]:
    logits, target, weight = inputs["logits"], inputs["target"], inputs["weight"]
    options, row_weight = inputs["options"], inputs["row_weight"]
    ops = torch.ops.percbal
    total, loss, grad_sq, dlogits = ops.weighted_cross_entropy(
        logits, target, row_weight, weight, *options, True
    )
    alone, _, stats = ops.token_cross_entropy(logits, target, weight, *options)
    later = ops.token_cross_entropy_backward(row_weight, logits, target, weight, stats, *options)
    return {
        "total": total,
        "loss": loss,
        "grad_sq": grad_sq,
        "dlogits": dlogits,
        "stats": stats,
        "loss_alone": alone,
        "dlogits_later": later,
    }
