"""Rows as a trainer has them, at full size, and the kernels that take them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gpu.facts import DEVICE, REHEARSAL, NeedsGpu, Unsuitable
from percbal_ops.losses.options import LossOptions
from percbal_ops.losses.triton import hopper
from percbal_ops.losses.triton import launch as triton_kernels

ROWS = 8 if REHEARSAL else 8192
PLAIN = (-100, 0.0, 0.0, 0.0)  # ignore_index, label_smoothing, z_loss, softcap


class Rows(NamedTuple):
    """logits (N, V), target (N,) int64, row_weight (N,) float32."""

    logits: Tensor
    target: Tensor
    row_weight: Tensor

    def __str__(self) -> str:
        return "x".join(map(str, self.logits.shape))


def make_rows(vocab: int, n: int = ROWS, dtype: torch.dtype = torch.bfloat16) -> Rows:
    """A tenth of the rows is ignored, a seventh is nearly certain of its target."""
    torch.manual_seed(n + vocab)
    logits = torch.randn(n, vocab, device=DEVICE, dtype=dtype).mul_(3)
    target = torch.randint(vocab, (n,), device=DEVICE)
    target[::10] = -100
    sure = torch.arange(1, n, 7, device=DEVICE)
    logits[sure, target[1::7].clamp(min=0)] += 20
    return Rows(logits, target, torch.rand(n, device=DEVICE))


Outputs = tuple[Tensor, Tensor, Tensor]  # loss (N,), squared norm (N,), gradient (N, V)


def two_pass(rows: Rows) -> Outputs:
    return triton_kernels.weighted_cross_entropy(*rows, None, *PLAIN, True)[1:]


def in_place(rows: Rows) -> Outputs:
    """On a copy, which the times of kernels.py leave out."""
    logits = rows.logits.clone()
    loss, square = triton_kernels.weighted_cross_entropy_(logits, *rows[1:], None, *PLAIN)
    return loss, square, logits


def cluster(rows: Rows) -> Outputs:
    must_apply(rows)
    return hopper.weighted_cross_entropy(*rows, None, *PLAIN, True)[1:]


def cluster_in_place(rows: Rows) -> Outputs:
    """On a copy, as `in_place`."""
    must_apply(rows)
    logits = rows.logits.clone()
    loss, square = hopper.weighted_cross_entropy_(logits, *rows[1:], None, *PLAIN)
    return loss, square, logits


def must_apply(rows: Rows) -> None:
    """Raises where Triton would serve the call instead."""
    if REHEARSAL:
        raise NeedsGpu("the CUDA C++ kernel runs on a Hopper GPU")
    if not hopper.applies(rows.logits, LossOptions()):
        raise Unsuitable(f"the CUDA C++ kernel does not serve {rows} on this device")


KERNELS: dict[str, Callable[[Rows], Outputs]] = {
    "Triton two-pass": two_pass,
    "Triton in place": in_place,
    "CUDA C++ cluster": cluster,
    "CUDA C++ cluster in place": cluster_in_place,
}
