"""The gradients of two losses, kept apart until their weights are known.

Norms do not add up, gradients do. So both gradients are first summed over all micro-batches and
ranks, then their norms are taken, and then ``w_p g_p + w_r g_r`` goes to ``.grad``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from percbal_ops import SegmentOutput

Forward = Callable[[], Any]  # one forward pass
SegmentLoss = Callable[[Any, int], SegmentOutput]  # its result and a segment -> that segment's loss
N_LOSSES = 2


class TwoGradients(Protocol):
    """What NGDiff asks of an engine. The losses are sums over this rank's tokens."""

    def backward(
        self, model: nn.Module, forward: Forward, loss: SegmentLoss
    ) -> tuple[Any, list[SegmentOutput]]:
        """Add a micro-batch to both gradients; returns the forward pass and both losses."""
        ...

    def reduce(self) -> Tensor:
        """Sum both gradients over ranks; returns their norms (2,), g_p's first."""
        ...

    def combine(self, weights: Tensor) -> Tensor:
        """Write the weighted sum to ``.grad``; returns the losses (2,) of this rank's tokens."""
        ...


def make_two_gradients(accelerator: Accelerator) -> TwoGradients:
    """The way that fits how the accelerator keeps the parameters."""
    return (ShardedTwoGradients if accelerator.is_fsdp2 else WholeTwoGradients)(accelerator)


class WholeTwoGradients:
    """For parameters that every rank holds whole: one forward pass and two backward passes.

    g_r accumulates in ``.grad`` itself, g_p beside it: one more copy of the gradients in memory,
    one more backward pass in time, no more forward passes.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self._parameters: list[nn.Parameter] = []
        self._first: list[Tensor] = []  # g_p, one tensor per parameter
        self._losses: list[Tensor] = []  # (2,) of each micro-batch

    def backward(
        self, model: nn.Module, forward: Forward, loss: SegmentLoss
    ) -> tuple[Any, list[SegmentOutput]]:
        if not self._first:
            self._parameters = _trained(model)
        # DistributedDataParallel must not reduce: `reduce` does it for both gradients
        with self.accelerator.no_sync(model):
            passed = forward()
            results = [loss(passed, segment) for segment in range(N_LOSSES)]
            gradients = torch.autograd.grad(
                results[0].loss, self._parameters, retain_graph=True, allow_unused=True
            )
            results[1].loss.backward()
        filled = _filled(self._parameters, gradients)
        if self._first:
            torch._foreach_add_(self._first, filled)
        else:
            self._first = filled
        self._losses.append(_stacked(results))
        return passed, results

    def reduce(self) -> Tensor:
        second = self._second()
        if self.accelerator.num_processes > 1:
            for gradients in (self._first, second):
                _sum_over_ranks(gradients)
        return torch.stack([_norm(self._first), _norm(second)])

    def combine(self, weights: Tensor) -> Tensor:
        _weigh(self._first, self._second(), weights)
        losses = torch.stack(self._losses).sum(0)
        self._first, self._losses = [], []
        return losses

    def _second(self) -> list[Tensor]:
        """g_r: the parameters' own ``.grad``, zero where the loss does not reach."""
        gradients = _filled(self._parameters, [p.grad for p in self._parameters])
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient
        return gradients


class ShardedTwoGradients:
    """For FSDP2: a forward and a backward pass for each gradient.

    FSDP2 prepares one backward pass per forward pass. A second one over the same graph raises
    nothing and gives a wrong gradient. Each backward pass reduces its gradient at once, also before
    the last micro-batch, as unreduced gradients of both losses would be added together. One more
    copy of the sharded gradients in memory; the losses' graphs are never alive together.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self._parameters: list[nn.Parameter] = []
        self._gradients: list[list[Tensor | None]] = []  # g_p, g_r; shards, one per parameter
        self._losses: list[Tensor] = []  # (2,) of each micro-batch

    def backward(
        self, model: nn.Module, forward: Forward, loss: SegmentLoss
    ) -> tuple[Any, list[SegmentOutput]]:
        if not self._gradients:
            self._parameters = _trained(model)
            self._gradients = [[None] * len(self._parameters) for _ in range(N_LOSSES)]
        # the Trainer turns this off for all micro-batches but the last
        model.set_requires_gradient_sync(True)  # type: ignore[operator]
        results = []
        passed = None
        for segment in range(N_LOSSES):
            passed = None  # free the last pass's logits before this one's
            self._point_to(segment)
            # both passes draw the same dropout; the last one leaves the generators moved on
            with nullcontext() if segment == N_LOSSES - 1 else _kept_generators(self.accelerator):
                passed = forward()
                result = loss(passed, segment)
                # FSDP2 averages over ranks, and a sum is wanted
                (result.loss * self.accelerator.num_processes).backward()
            self._gradients[segment] = [p.grad for p in self._parameters]
            results.append(result)
        self._losses.append(_stacked(results))
        return passed, results

    def reduce(self) -> Tensor:
        """The norms (2,); the backward passes have summed over ranks already."""
        for segment, gradients in enumerate(self._gradients):
            self._gradients[segment] = list(_filled(self._parameters, gradients))
        return torch.stack([_norm(self._filled_gradients(s)) for s in range(N_LOSSES)])

    @torch.no_grad()
    def combine(self, weights: Tensor) -> Tensor:
        self._point_to(1)
        first, second = (
            [g.to_local() if isinstance(g, DTensor) else g for g in self._filled_gradients(s)]
            for s in range(N_LOSSES)
        )
        _weigh(first, second, weights)  # in place: the shards are those of `.grad`
        losses = torch.stack(self._losses).sum(0)
        self._gradients, self._losses = [], []
        return losses

    def _point_to(self, segment: int) -> None:
        """Let ``.grad`` be the gradient of this segment, to which backward then adds."""
        for parameter, gradient in zip(self._parameters, self._gradients[segment], strict=True):
            parameter.grad = gradient

    def _filled_gradients(self, segment: int) -> list[Tensor]:
        return [g for g in self._gradients[segment] if g is not None]


def _trained(model: nn.Module) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]


def _filled(parameters: list[nn.Parameter], gradients: Any) -> list[Tensor]:
    """Zeros where a loss does not reach a parameter."""
    pairs = zip(parameters, gradients, strict=True)
    return [torch.zeros_like(p) if g is None else g for p, g in pairs]


def _stacked(results: list[SegmentOutput]) -> Tensor:
    """(2,): each result has one segment alone."""
    return torch.stack([result.segment_loss[i].detach() for i, result in enumerate(results)])


def _weigh(first: list[Tensor], second: list[Tensor], weights: Tensor) -> None:
    """``second = weights[0] * first + weights[1] * second``, in place; ``first`` is spent."""
    torch._foreach_mul_(second, weights[1])
    torch._foreach_mul_(first, weights[0])
    torch._foreach_add_(second, first)  # type: ignore[arg-type]


def _norm(tensors: list[Tensor]) -> Tensor:
    """() float32, of all tensors together, whole or sharded."""
    norm = nn.utils.get_total_norm(tensors)
    return (norm.full_tensor() if isinstance(norm, DTensor) else norm).float()


def _kept_generators(accelerator: Accelerator) -> AbstractContextManager:
    """Put the random generators back afterwards."""
    device = accelerator.device
    return torch.random.fork_rng([device] if device.type != "cpu" else [], device_type=device.type)


def _sum_over_ranks(tensors: list[Tensor]) -> None:
    """All-reduce in one message per dtype, in place."""
    for dtype in {tensor.dtype for tensor in tensors}:
        group = [tensor for tensor in tensors if tensor.dtype == dtype]
        flat = torch.cat([tensor.reshape(-1) for tensor in group])
        dist.all_reduce(flat)
        sizes = [tensor.numel() for tensor in group]
        parts = [part.view_as(t) for part, t in zip(flat.split(sizes), group, strict=True)]
        torch._foreach_copy_(group, parts)
