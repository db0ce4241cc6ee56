"""What runs in the GPU benchmark: every implementation on its best route for the same work.

A provider takes the inputs of a case and returns a function of no arguments that does the work
once. It raises ImportError where its package is missing, Unsuitable where it cannot do the work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

import percbal_ops
from gpu.clock import Run, synchronize
from gpu.facts import REHEARSAL, Unsuitable


class Inputs(NamedTuple):
    """logits (N, V), requiring grad; target, segment_ids (N,); segment_weights (S,)."""

    logits: Tensor
    target: Tensor
    segment_ids: Tensor
    segment_weights: Tensor

    @property
    def row_weight(self) -> Tensor:
        return weight_of_rows(self.segment_ids, self.segment_weights)


def weight_of_rows(segment_ids: Tensor, segment_weights: Tensor) -> Tensor:
    """(N,) w_s / N_s: what a user of reduction="none" multiplies the losses by."""
    count = torch.bincount(segment_ids, minlength=len(segment_weights))
    return (segment_weights / count)[segment_ids]


def longest_kernels(run: Run, most: int = 3) -> list[str]:
    """Names of the kernels that took longest in the second call: what really ran."""
    from torch.profiler import ProfilerActivity, profile

    run()
    synchronize()
    kind = ProfilerActivity.CPU if REHEARSAL else ProfilerActivity.CUDA
    with profile(activities=[kind]) as profiled:
        run()
        synchronize()
    taken = "self_cpu_time_total" if REHEARSAL else "self_device_time_total"
    events = sorted(profiled.key_averages(), key=lambda event: -getattr(event, taken))
    return [event.key[:80] for event in events[:most]]


def check_kernels(provider: str, kernels: list[str]) -> None:
    """Raises Unsuitable where a row would carry the name of a kernel that did not run."""
    wanted = OUR_KERNELS.get(provider)
    if wanted is not None and not REHEARSAL and not any(wanted in name for name in kernels):
        raise Unsuitable(f"{wanted} did not run, but {', '.join(kernels)}")


@torch.no_grad()
def norms_by_softmax(logits: Tensor, target: Tensor, ids: Tensor, weights: Tensor) -> Tensor:
    """(S,) gradient norms as one takes them without a fused kernel: p in float32, then sums."""
    p = torch.softmax(logits, 1, dtype=torch.float32)
    square = (p * p).sum(1) - 2 * p.gather(1, target[:, None])[:, 0] + 1
    return torch.zeros_like(weights).index_add(0, ids, square).sqrt()


def from_token_losses(
    losses: Callable[[Tensor, Tensor], Tensor],
    inputs: Inputs,
    work: str,
    norms: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor] | None = None,
) -> Run:
    """The work of a case from a function (logits, target) -> (N,) losses."""
    weight = inputs.row_weight
    norms = norms or torch.compile(norms_by_softmax)  # the best route there is: one fused pass

    def run() -> object:
        logits, *rest = inputs
        if work == "loss and norms":
            with torch.no_grad():
                return (losses(logits, inputs.target) * weight).sum(), norms(logits, *rest)
        # norms before the loss: liger-kernel writes its gradient over the logits
        found = norms(logits, *rest) if work == "segments" else None
        loss = losses(logits, inputs.target)
        backward((loss * weight).sum() if work == "segments" else loss.mean(), inputs, work)
        return found

    return run


def backward(total: Tensor, inputs: Inputs, work: str) -> None:
    inputs.logits.grad = None
    upstream = torch.full_like(total, 0.5 if work == "mean, upstream 0.5" else 1.0)
    total.backward(upstream)


def percbal(inputs: Inputs, work: str) -> Run:
    segments = (inputs.segment_ids, inputs.segment_weights)

    def run() -> object:
        if work == "loss and norms":
            with torch.no_grad():
                return percbal_ops.segment_cross_entropy(inputs.logits, inputs.target, *segments)
        if work == "segments":
            out = percbal_ops.segment_cross_entropy(inputs.logits, inputs.target, *segments)
            backward(out.loss, inputs, work)
            return out
        return backward(percbal_ops.cross_entropy(inputs.logits, inputs.target), inputs, work)

    return run


def percbal_triton(inputs: Inputs, work: str) -> Run:
    """What serves GPUs other than Hopper, and rows that the CUDA C++ kernel does not take."""
    plain = percbal(inputs, work)

    def run() -> object:
        with percbal_ops.use_cuda_backend("triton"):
            return plain()

    return run


def torch_eager(inputs: Inputs, work: str) -> Run:
    if work.startswith("mean"):

        def run() -> object:
            return backward(F.cross_entropy(inputs.logits, inputs.target), inputs, work)

        return run
    return from_token_losses(
        lambda logits, target: F.cross_entropy(logits, target, reduction="none"), inputs, work
    )


def torch_compiled(inputs: Inputs, work: str) -> Run:
    torch._dynamo.reset()
    if work.startswith("mean"):
        loss = torch.compile(lambda logits, target: F.cross_entropy(logits.float(), target))
        return lambda: backward(loss(inputs.logits, inputs.target), inputs, work)
    losses = torch.compile(
        lambda logits, target: F.cross_entropy(logits.float(), target, reduction="none")
    )
    return from_token_losses(losses, inputs, work)


def liger(inputs: Inputs, work: str) -> Run:
    """It writes its gradient over the logits; the time of a call does not depend on their values,
    and what a caller pays to keep them is not counted."""
    from liger_kernel.transformers.functional import liger_cross_entropy

    if work.startswith("mean"):
        return lambda: backward(liger_cross_entropy(inputs.logits, inputs.target), inputs, work)
    return from_token_losses(
        lambda logits, target: liger_cross_entropy(logits, target, reduction="none"), inputs, work
    )


def quack(inputs: Inputs, work: str) -> Run:
    from quack.cross_entropy import cross_entropy

    if work.startswith("mean"):
        return lambda: backward(cross_entropy(inputs.logits, inputs.target), inputs, work)
    return from_token_losses(
        lambda logits, target: cross_entropy(logits, target, reduction="none"), inputs, work
    )


def quack_forward_with_gradient(inputs: Inputs, work: str) -> Run:
    from quack.cross_entropy import cross_entropy_fwd

    if work != "mean":
        raise Unsuitable("its gradient is that of the sum of losses, at upstream 1")
    return lambda: cross_entropy_fwd(inputs.logits.detach(), inputs.target, return_dx=True)


def flash_attn(inputs: Inputs, work: str) -> Run:
    from flash_attn.ops.triton.cross_entropy import cross_entropy_loss

    return from_token_losses(
        lambda logits, target: cross_entropy_loss(logits, target)[0], inputs, work
    )


PROVIDERS: dict[str, Callable[[Inputs, str], Run]] = {
    "percbal": percbal,
    "percbal Triton": percbal_triton,
    "torch eager": torch_eager,
    "torch.compile": torch_compiled,
    "liger-kernel": liger,
    "quack": quack,
    "quack, gradient in forward": quack_forward_with_gradient,
    "flash-attn Triton": flash_attn,
}

OUR_KERNELS = {"percbal Triton": "loss_kernel"}
