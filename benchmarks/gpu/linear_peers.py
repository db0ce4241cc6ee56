"""What runs in the GPU benchmark of the losses from hidden states; providers as in peers.py.

Each takes its best route to the same gradients of hidden states and head. Who cannot weight tokens
does the mean alone; who does not hold the logits pays one more product for the norms.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gpu.clock import Run
from gpu.facts import REHEARSAL, NeedsGpu, Unsuitable
from gpu.peers import norms_by_softmax, weight_of_rows
from percbal_ops.linear import linear_cross_entropy, linear_segment_cross_entropy

CHUNK = 2048  # rows of logits of those who need them again for the norms
Losses = Callable[[Tensor, Tensor, Tensor], Tensor]  # hidden, head, target -> () or (N,)


class LinearInputs(NamedTuple):
    """hidden (N, D), head (V, D), requiring grad; target, ids of segments (N,); weights (S,)."""

    hidden: Tensor
    head: Tensor
    target: Tensor
    segment_ids: Tensor
    segment_weights: Tensor

    @property
    def row_weight(self) -> Tensor:
        return weight_of_rows(self.segment_ids, self.segment_weights)


def backward(total: Tensor, inputs: LinearInputs) -> None:
    inputs.hidden.grad = inputs.head.grad = None
    total.backward()


def percbal(inputs: LinearInputs, work: str) -> Run:
    x, w, y, ids, weights = inputs
    if work == "plain":
        return lambda: backward(linear_cross_entropy(x, w, y), inputs)

    def run() -> Tensor:
        out = linear_segment_cross_entropy(x, w, y, ids, weights)
        backward(out.loss, inputs)
        return out.segment_grad_norm

    return run


def from_whole_logits(compiled: bool) -> Callable[[LinearInputs, str], Run]:
    """F.linear and F.cross_entropy; the norms come from the logits that are there anyway."""

    def provider(inputs: LinearInputs, work: str) -> Run:
        x, w, y, ids, weights = inputs
        row_weight = inputs.row_weight

        def plain() -> Tensor:
            return F.cross_entropy(F.linear(x, w).float(), y)

        def segments() -> tuple[Tensor, Tensor]:
            logits = F.linear(x, w)
            norms = norms_by_softmax(logits, y, ids, weights)
            loss = F.cross_entropy(logits.float(), y, reduction="none")
            return (loss * row_weight).sum(), norms

        if compiled:
            torch._dynamo.reset()
            plain, segments = torch.compile(plain), torch.compile(segments)
        if work == "plain":
            return lambda: backward(plain(), inputs)

        def run() -> Tensor:
            loss, norms = segments()
            backward(loss, inputs)
            return norms

        return run

    return provider


def without_logits(inputs: LinearInputs, work: str, mean: Losses, tokens: Losses | None) -> Run:
    """A loss that does not hold the logits: mean, and one for each token if there is one."""
    x, w, y, ids, weights = inputs
    if work == "plain":
        return lambda: backward(mean(x, w, y), inputs)
    if tokens is None:
        raise Unsuitable("it has no loss for each token to be weighted")
    row_weight, norms_of = inputs.row_weight, norms_by_softmax
    if x.is_cuda:
        norms_of = torch.compile(norms_by_softmax)

    def run() -> Tensor:
        with torch.no_grad():
            square = torch.zeros_like(weights)
            for part in range(0, len(y), CHUNK):
                at = slice(part, part + CHUNK)
                square += norms_of(F.linear(x[at], w), y[at], ids[at], weights) ** 2
        backward((tokens(x, w, y).float() * row_weight).sum(), inputs)
        return square.sqrt()

    return run


def torch_chunked(inputs: LinearInputs, work: str) -> Run:
    if not hasattr(torch.nn, "LinearCrossEntropyOptions"):
        raise Unsuitable("this torch has no F.linear_cross_entropy; 2.13 has")
    options = torch.nn.LinearCrossEntropyOptions()

    def loss(reduction: str) -> Losses:
        return lambda x, w, y: F.linear_cross_entropy(x, w, y, reduction=reduction, options=options)

    return without_logits(inputs, work, loss("mean"), loss("none"))


def liger(inputs: LinearInputs, work: str) -> Run:
    from liger_kernel.transformers.functional import liger_fused_linear_cross_entropy as fused

    def loss(reduction: str) -> Losses:
        return lambda x, w, y: fused(x, w, y, reduction=reduction, accum_dtype=torch.float32)

    return without_logits(inputs, work, loss("mean"), loss("none"))


def cut_cross_entropy(inputs: LinearInputs, work: str) -> Run:
    """Its default passes over blocks of tiny probabilities; the logits here are random, so it finds
    few, and a trained model would let it find more."""
    from cut_cross_entropy import linear_cross_entropy as cut

    if REHEARSAL:
        raise NeedsGpu("its kernels do not run in Triton's interpreter")

    def loss(reduction: str) -> Losses:
        return lambda x, w, y: cut(x, w, y, reduction=reduction)

    return without_logits(inputs, work, loss("mean"), loss("none"))


def quack(inputs: LinearInputs, work: str) -> Run:
    from quack.linear_cross_entropy import chunked_linear_cross_entropy

    return without_logits(inputs, work, chunked_linear_cross_entropy, None)


PROVIDERS: dict[str, Callable[[LinearInputs, str], Run]] = {
    "percbal": percbal,
    "torch eager": from_whole_logits(compiled=False),
    "torch.compile": from_whole_logits(compiled=True),
    "torch chunked": torch_chunked,
    "liger-kernel": liger,
    "cut-cross-entropy": cut_cross_entropy,
    "quack": quack,
}
