"""The gradients of the segments' losses, kept apart until their weights are known.

Norms do not add up, gradients do. So all gradients are first summed over all micro-batches and
ranks, then their norms are taken, and then ``sum_s w_s g_s`` goes to ``.grad``.
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

from percbal.sft.part_norms import PartNorms
from percbal_ops import SegmentOutput

Forward = Callable[[], Any]  # one forward pass
SegmentLoss = Callable[[Any, int], SegmentOutput]  # its result and a segment -> that segment's loss


class SegmentGradients(Protocol):
    """What exact norms ask of an engine. The losses are sums over this rank's tokens."""

    def backward(
        self, model: nn.Module, forward: Forward, loss: SegmentLoss
    ) -> tuple[Any, list[SegmentOutput]]:
        """Add a micro-batch to all gradients; returns the forward pass and the losses."""
        ...

    def reduce(self) -> Tensor:
        """Sum all gradients over ranks; returns their norms (S,)."""
        ...

    def combine(self, weights: Tensor) -> Tensor:
        """Write the weighted sum to ``.grad``; returns the losses (S,) of this rank's tokens."""
        ...

    parts: PartNorms | None  # is told the norms of every micro-batch's own gradients


def make_segment_gradients(
    accelerator: Accelerator, segments: int, *, by_parts: bool = False
) -> SegmentGradients:
    """The way that fits how the accelerator keeps the parameters. by_parts: with ``parts``."""
    kind = ShardedGradients if accelerator.is_fsdp2 else WholeGradients
    parts = PartNorms(accelerator, of_all_ranks=accelerator.is_fsdp2) if by_parts else None
    return kind(accelerator, segments, parts)


class WholeGradients:
    """For parameters that every rank holds whole: one forward pass and S backward passes.

    The last gradient accumulates in ``.grad`` itself, the others beside it: S - 1 more copies of
    the gradients in memory, S - 1 more backward passes in time, no more forward passes. With
    ``parts`` the last one's is kept apart, too, until it has been added: one more copy.
    """

    def __init__(
        self, accelerator: Accelerator, segments: int, parts: PartNorms | None = None
    ) -> None:
        self.accelerator, self.segments, self.parts = accelerator, segments, parts
        self._parameters: list[nn.Parameter] = []
        self._kept: list[list[Tensor]] = []  # all but the last; one tensor per parameter
        self._losses: list[Tensor] = []  # (S,) of each micro-batch

    def backward(
        self, model: nn.Module, forward: Forward, loss: SegmentLoss
    ) -> tuple[Any, list[SegmentOutput]]:
        if not self._losses:
            self._parameters = _trained(model)
        # DistributedDataParallel must not reduce: `reduce` does it for all gradients
        with self.accelerator.no_sync(model):
            passed = forward()
            results = [loss(passed, segment) for segment in range(self.segments)]
            norms = [self._keep(result.loss, s) for s, result in enumerate(results[:-1])]
            if self.parts is None:
                results[-1].loss.backward()
            else:
                norms.append(self._keep(results[-1].loss, self.segments - 1))
                self.parts.add(norms, results)
        self._losses.append(_stacked(results))
        return passed, results

    def reduce(self) -> Tensor:
        gradients = [*self._kept, self._last()]
        if self.accelerator.num_processes > 1:
            for of_segment in gradients:
                _sum_over_ranks(of_segment)
        return torch.stack([_norm(of_segment) for of_segment in gradients])

    def combine(self, weights: Tensor) -> Tensor:
        _weigh([*self._kept, self._last()], weights)
        losses = torch.stack(self._losses).sum(0)
        self._kept, self._losses = [], []
        return losses

    def _keep(self, loss: Tensor, segment: int) -> Tensor:
        """Add a loss's own gradient to its segment's; returns its norm () if there are parts."""
        last = segment == self.segments - 1
        found = torch.autograd.grad(
            loss, self._parameters, retain_graph=not last, allow_unused=True
        )
        gradients = _filled(self._parameters, found)
        if last:
            torch._foreach_add_(self._last(), gradients)
        elif segment == len(self._kept):
            self._kept.append(gradients)
        else:
            torch._foreach_add_(self._kept[segment], gradients)
        return loss.detach() if self.parts is None else _norm(gradients)

    def _last(self) -> list[Tensor]:
        """The parameters' own ``.grad``, zero where the loss does not reach."""
        gradients = _filled(self._parameters, [p.grad for p in self._parameters])
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient
        return gradients


class ShardedGradients:
    """For FSDP2: a forward and a backward pass for each gradient.

    FSDP2 prepares one backward pass per forward pass. A second one over the same graph raises
    nothing and gives a wrong gradient. Each backward pass reduces its gradient at once, also before
    the last micro-batch, as unreduced gradients of several losses would be added together. S - 1
    more copies of the sharded gradients in memory, and one more with ``parts``; no two losses'
    graphs are alive together.
    """

    def __init__(
        self, accelerator: Accelerator, segments: int, parts: PartNorms | None = None
    ) -> None:
        self.accelerator, self.segments, self.parts = accelerator, segments, parts
        self._parameters: list[nn.Parameter] = []
        self._gradients: list[list[Tensor | None]] = []  # (S) shards, one per parameter
        self._losses: list[Tensor] = []  # (S,) of each micro-batch

    def backward(
        self, model: nn.Module, forward: Forward, loss: SegmentLoss
    ) -> tuple[Any, list[SegmentOutput]]:
        if not self._gradients:
            self._parameters = _trained(model)
            self._gradients = [[None] * len(self._parameters) for _ in range(self.segments)]
        # the Trainer turns this off for all micro-batches but the last
        model.set_requires_gradient_sync(True)  # type: ignore[operator]
        results, norms = [], []
        passed = None
        for segment in range(self.segments):
            passed = None  # free the last pass's logits before this one's
            self._point_to(None if self.parts is not None else segment)
            # all passes draw the same dropout; the last one leaves the generators moved on
            last = segment == self.segments - 1
            with nullcontext() if last else _kept_generators(self.accelerator):
                passed = forward()
                result = loss(passed, segment)
                # FSDP2 averages over ranks, and a sum is wanted
                (result.loss * self.accelerator.num_processes).backward()
            found = [p.grad for p in self._parameters]
            if self.parts is None:
                self._gradients[segment] = found
            else:
                norms.append(_norm([g for g in found if g is not None]))
                self._add(segment, found)
            results.append(result)
        if self.parts is not None:
            self.parts.add(norms, results)
        self._losses.append(_stacked(results))
        return passed, results

    def reduce(self) -> Tensor:
        """The norms (S,); the backward passes have summed over ranks already."""
        for segment, gradients in enumerate(self._gradients):
            self._gradients[segment] = list(_filled(self._parameters, gradients))
        return torch.stack([_norm(self._filled_gradients(s)) for s in range(self.segments)])

    @torch.no_grad()
    def combine(self, weights: Tensor) -> Tensor:
        self._point_to(self.segments - 1)
        shards = [
            [g.to_local() if isinstance(g, DTensor) else g for g in self._filled_gradients(s)]
            for s in range(self.segments)
        ]
        _weigh(shards, weights)  # in place: the last shards are those of `.grad`
        losses = torch.stack(self._losses).sum(0)
        self._gradients, self._losses = [], []
        return losses

    def _point_to(self, segment: int | None) -> None:
        """Let ``.grad`` be the gradient of this segment, to which backward then adds; or none."""
        none = [None] * len(self._parameters)
        gradients = none if segment is None else self._gradients[segment]
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient

    @torch.no_grad()
    def _add(self, segment: int, gradients: list[Tensor | None]) -> None:
        kept = self._gradients[segment]
        for i, gradient in enumerate(gradients):
            old = kept[i]
            if gradient is not None:
                kept[i] = gradient if old is None else old.add_(gradient)

    def _filled_gradients(self, segment: int) -> list[Tensor]:
        return [g for g in self._gradients[segment] if g is not None]


def _trained(model: nn.Module) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]


def _filled(parameters: list[nn.Parameter], gradients: Any) -> list[Tensor]:
    """Zeros where a loss does not reach a parameter."""
    pairs = zip(parameters, gradients, strict=True)
    return [torch.zeros_like(p) if g is None else g for p, g in pairs]


def _stacked(results: list[SegmentOutput]) -> Tensor:
    """(S,): each result has one segment alone."""
    return torch.stack([result.segment_loss[i].detach() for i, result in enumerate(results)])


def _weigh(gradients: list[list[Tensor]], weights: Tensor) -> None:
    """The last one becomes ``sum_s weights[s] * gradients[s]``, in place; the others are spent."""
    torch._foreach_mul_(gradients[-1], weights[-1])
    for gradient, weight in zip(gradients[:-1], weights[:-1], strict=True):
        torch._foreach_mul_(gradient, weight)
        torch._foreach_add_(gradients[-1], gradient)  # type: ignore[arg-type]


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
