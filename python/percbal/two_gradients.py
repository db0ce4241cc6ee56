"""The gradients of two losses from one forward pass, kept apart until their weights are known."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch import Tensor, nn


class TwoGradients:
    """Accumulates g_p and g_r over micro-batches, then writes ``w_p g_p + w_r g_r`` to ``.grad``.

    g_r accumulates in ``.grad`` itself, g_p beside it: one more copy of the gradients in memory,
    one more backward pass in time, no more forward passes. The norms are those of the sums over
    all micro-batches and ranks, as they must be: norms do not add up, gradients do.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self._parameters: list[nn.Parameter] = []
        self._first: list[Tensor] = []  # g_p, one tensor per parameter
        self._losses: list[Tensor] = []  # (2,) of each micro-batch

    def no_sync(self, model: nn.Module) -> AbstractContextManager:
        """Keep DistributedDataParallel from reducing: ``reduce`` does it for both gradients."""
        return self.accelerator.no_sync(model)

    def backward(self, model: nn.Module, losses: list[Tensor]) -> None:
        """Add this micro-batch's gradients of the two losses, which share one graph."""
        if not self._first:
            self._parameters = [p for p in model.parameters() if p.requires_grad]
        gradients = torch.autograd.grad(
            losses[0], self._parameters, retain_graph=True, allow_unused=True
        )
        filled = [
            torch.zeros_like(p) if g is None else g
            for p, g in zip(self._parameters, gradients, strict=True)
        ]
        if self._first:
            torch._foreach_add_(self._first, filled)
        else:
            self._first = filled
        losses[1].backward()
        self._losses.append(torch.stack([loss.detach() for loss in losses]))

    def reduce(self) -> Tensor:
        """Sum both gradients over ranks; returns their norms (2,), g_p's first."""
        second = self._second()
        if self.accelerator.num_processes > 1:
            for gradients in (self._first, second):
                _sum_over_ranks(gradients)
        return torch.stack([_norm(self._first), _norm(second)])

    def combine(self, weights: Tensor) -> Tensor:
        """Write the weighted sum to ``.grad``; returns the losses (2,) of this rank's tokens."""
        second = self._second()
        torch._foreach_mul_(second, weights[1])
        torch._foreach_mul_(self._first, weights[0])
        torch._foreach_add_(second, self._first)  # type: ignore[arg-type]
        losses = torch.stack(self._losses).sum(0)
        self._first, self._losses = [], []
        return losses

    def _second(self) -> list[Tensor]:
        """g_r: the parameters' own ``.grad``, zero where the loss does not reach."""
        for parameter in self._parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        return [p.grad for p in self._parameters if p.grad is not None]


def _norm(tensors: list[Tensor]) -> Tensor:
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(tensors)).float())


def _sum_over_ranks(tensors: list[Tensor]) -> None:
    """All-reduce in one message per dtype, in place."""
    for dtype in {tensor.dtype for tensor in tensors}:
        group = [tensor for tensor in tensors if tensor.dtype == dtype]
        flat = torch.cat([tensor.reshape(-1) for tensor in group])
        dist.all_reduce(flat)
        sizes = [tensor.numel() for tensor in group]
        parts = [part.view_as(t) for part, t in zip(flat.split(sizes), group, strict=True)]
        torch._foreach_copy_(group, parts)
