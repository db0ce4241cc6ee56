"""The gradients of the segments' losses, kept apart until their weights are known.

Norms do not add up, gradients do. So all gradients are first summed over all micro-batches and
ranks, then their norms are taken, and then ``sum_s w_s g_s`` goes to ``.grad``.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
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
        """Write the weighted sum to ``.grad``; returns the losses (S,) of this rank's tokens.

        A parameter that no loss of any rank reaches has none, as after a plain backward pass: a
        gradient of zeros would let weight decay and old momentum move it. Not under FSDP2.
        """
        ...

    def reset(self) -> None:
        """Forget what a step that was interrupted has left; ``.grad`` is the Trainer's."""
        ...

    parts: PartNorms | None  # is told the norms of every micro-batch's own gradients
    loss_scale: int  # the factor of a micro-batch's losses that ``backward`` is to be given


def make_segment_gradients(
    accelerator: Accelerator, segments: int, *, by_parts: bool = False
) -> SegmentGradients:
    """The way that fits how the accelerator keeps the parameters. by_parts: with ``parts``."""
    kind = ShardedGradients if accelerator.is_fsdp2 else WholeGradients
    parts = PartNorms(accelerator, of_all_ranks=accelerator.is_fsdp2) if by_parts else None
    return kind(accelerator, segments, parts)


class _KeptGradients:
    """What both engines do alike: each segment's gradient takes its turn as ``.grad``."""

    def __init__(
        self, accelerator: Accelerator, segments: int, parts: PartNorms | None = None
    ) -> None:
        self.accelerator, self.segments, self.parts = accelerator, segments, parts
        self.loss_scale = 1
        self._parameters: list[nn.Parameter] = []
        # (S) lists, one tensor per parameter; None where no loss of the segment has reached it
        self._gradients: list[list[Tensor | None]] = []
        self._losses: list[Tensor] = []  # (S,) of each micro-batch

    def reset(self) -> None:
        self._parameters, self._gradients, self._losses = [], [], []
        if self.parts is not None:
            self.parts.reset()

    def combine(self, weights: Tensor) -> Tensor:
        self._point_to(self.segments - 1)
        _weigh([_local(self._filled(s)) for s in range(self.segments)], weights)
        losses = torch.stack(self._losses).sum(0)
        self.reset()
        return losses

    def _begin(self, model: nn.Module) -> None:
        """The first micro-batch of a step needs to know the parameters."""
        if not self._gradients:
            self._parameters = [p for p in model.parameters() if p.requires_grad]
            self._gradients = [[None] * len(self._parameters) for _ in range(self.segments)]

    def _keep(self, loss: Tensor, segment: int, *, retain_graph: bool) -> Tensor:
        """Add a loss's gradient to its segment's; returns its own norm () if there are parts."""
        self._point_to(None if self.parts is not None else segment)
        loss.backward(retain_graph=retain_graph)
        found = [p.grad for p in self._parameters]
        if self.parts is None:
            self._gradients[segment] = found
            return loss.detach()
        norm = self._norm([g for g in found if g is not None])
        self._gradients[segment] = _sums(self._gradients[segment], found)
        return norm

    def _point_to(self, segment: int | None) -> None:
        """Let ``.grad`` be the gradient of this segment, to which backward then adds; or none."""
        none = [None] * len(self._parameters)
        gradients = none if segment is None else self._gradients[segment]
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient

    def _reached(self) -> list[bool]:
        """For each parameter, whether a loss of this rank has reached it."""
        return [any(g is not None for g in of) for of in zip(*self._gradients, strict=True)]

    def _fill(self, reached: list[bool]) -> None:
        """Zeros for the segments that do not reach one of these parameters."""
        for segment, gradients in enumerate(self._gradients):
            self._gradients[segment] = [
                torch.zeros_like(parameter) if gradient is None and wanted else gradient
                for parameter, gradient, wanted in zip(
                    self._parameters, gradients, reached, strict=True
                )
            ]

    def _filled(self, segment: int) -> list[Tensor]:
        """What is there; after ``_fill`` of the same parameters for every segment."""
        return [g for g in self._gradients[segment] if g is not None]

    def _norms(self) -> Tensor:
        """(S,)"""
        return torch.stack([self._norm(self._filled(s)) for s in range(self.segments)])

    def _norm(self, tensors: list[Tensor]) -> Tensor:
        """() float32 on the losses' device, of all tensors together, whole or sharded."""
        norm = nn.utils.get_total_norm(tensors)
        whole = norm.full_tensor() if isinstance(norm, DTensor) else norm
        return whole.to(self.accelerator.device, torch.float32)


class WholeGradients(_KeptGradients):
    """For parameters that every rank holds whole: one forward pass and S backward passes.

    S - 1 more copies of the gradients in memory, S - 1 more backward passes in time, no more
    forward passes. With ``parts`` a micro-batch's own are kept apart until they have been added:
    one more copy.
    """

    def backward(
        self, model: nn.Module, forward: Forward, loss: SegmentLoss
    ) -> tuple[Any, list[SegmentOutput]]:
        self._begin(model)
        # DistributedDataParallel must not reduce: `reduce` does it for all gradients
        with self.accelerator.no_sync(model):
            passed = forward()
            results = [loss(passed, segment) for segment in range(self.segments)]
            last = self.segments - 1
            norms = [
                self._keep(result.loss, segment, retain_graph=segment != last)
                for segment, result in enumerate(results)
            ]
        if self.parts is not None:
            self.parts.add(norms, results)
        self._losses.append(_stacked(results))
        return passed, results

    def reduce(self) -> Tensor:
        reached = self._reached()
        if self.accelerator.num_processes > 1:
            anywhere = torch.tensor(reached, dtype=torch.int32, device=self.accelerator.device)
            dist.all_reduce(anywhere, op=dist.ReduceOp.MAX)
            reached = [bool(n) for n in anywhere.tolist()]
        self._fill(reached)
        if self.accelerator.num_processes > 1:
            for segment in range(self.segments):
                _sum_over_ranks(self._filled(segment))
        return self._norms()


class ShardedGradients(_KeptGradients):
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
        super().__init__(accelerator, segments, parts)
        self.loss_scale = accelerator.num_processes  # FSDP2 averages over ranks, a sum is wanted

    def backward(
        self, model: nn.Module, forward: Forward, loss: SegmentLoss
    ) -> tuple[Any, list[SegmentOutput]]:
        self._begin(model)
        # the Trainer turns this off for all micro-batches but the last
        model.set_requires_gradient_sync(True)  # type: ignore[operator]
        results, norms = [], []
        passed = None
        for segment in range(self.segments):
            passed = None  # free the last pass's logits before this one's
            # all passes draw the same dropout; the last one leaves the generators moved on
            last = segment == self.segments - 1
            with nullcontext() if last else _kept_generators(self.accelerator):
                passed = forward()
                result = loss(passed, segment)
                norms.append(self._keep(result.loss, segment, retain_graph=False))
            results.append(result)
        if self.parts is not None:
            self.parts.add(norms, results)
        self._losses.append(_stacked(results))
        return passed, results

    def reduce(self) -> Tensor:
        """The norms (S,); the backward passes have summed over ranks already.

        A parameter that no loss reaches has zeros here: torch loads an optimizer's sharded state
        only if it has one of each trained parameter.
        """
        self._fill([True] * len(self._parameters))
        return self._norms()


def _stacked(results: list[SegmentOutput]) -> Tensor:
    """(S,): each result has one segment alone."""
    return torch.stack([result.segment_loss[i].detach() for i, result in enumerate(results)])


@torch.no_grad()
def _sums(old: list[Tensor | None], new: list[Tensor | None]) -> list[Tensor | None]:
    """For each parameter the sum of what is there, in place of the old one."""
    pairs = [(a, b) for a, b in zip(old, new, strict=True) if a is not None and b is not None]
    if pairs:
        torch._foreach_add_([a for a, _ in pairs], [b for _, b in pairs])
    return [b if a is None else a for a, b in zip(old, new, strict=True)]


def _local(gradients: list[Tensor]) -> list[Tensor]:
    """This rank's shards, which share memory with the gradients."""
    return [g.to_local() if isinstance(g, DTensor) else g for g in gradients]


@torch.no_grad()
def _weigh(gradients: list[list[Tensor]], weights: Tensor) -> None:
    """The last one becomes ``sum_s weights[s] * gradients[s]``, in place; the others are spent.

    gradients: (S) lists of as many tensors, each of its parameter's device and dtype.
    weights: (S,) on any device: parameters may lie on several, or on another than the losses.
    """
    for at in _alike(gradients[-1], lambda gradient: gradient.device):
        groups = [[of_segment[i] for i in at] for of_segment in gradients]
        own = weights.to(groups[-1][0].device)
        torch._foreach_mul_(groups[-1], own[-1])
        for group, weight in zip(groups[:-1], own[:-1], strict=True):
            torch._foreach_mul_(group, weight)
            torch._foreach_add_(groups[-1], group)  # type: ignore[arg-type]


def _kept_generators(accelerator: Accelerator) -> AbstractContextManager:
    """Put the random generators back afterwards."""
    device = accelerator.device
    return torch.random.fork_rng([device] if device.type != "cpu" else [], device_type=device.type)


def _sum_over_ranks(tensors: list[Tensor]) -> None:
    """All-reduce in one message per device and dtype, in place."""
    for at in _alike(tensors, lambda tensor: (tensor.device, tensor.dtype)):
        group = [tensors[i] for i in at]
        flat = torch.cat([tensor.reshape(-1) for tensor in group])
        dist.all_reduce(flat)
        sizes = [tensor.numel() for tensor in group]
        parts = [part.view_as(t) for part, t in zip(flat.split(sizes), group, strict=True)]
        torch._foreach_copy_(group, parts)


def _alike(tensors: list[Tensor], kind: Callable[[Tensor], Hashable]) -> list[list[int]]:
    """The places of the tensors of each kind, in the order in which the kinds come first.

    That order is the same on all ranks. A set's is not: dtypes and devices are hashed by their
    address in each process.
    """
    places: dict[Hashable, list[int]] = {}
    for i, tensor in enumerate(tensors):
        places.setdefault(kind(tensor), []).append(i)
    return list(places.values())
