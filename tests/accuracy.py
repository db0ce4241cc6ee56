"""The error budget: twice what PyTorch itself loses at the same dtype, against float64."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def plain_loss(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float = 0.0,
) -> Tensor:
    """The loss of each row (N,), written the way a PyTorch user would, in the logits' dtype."""
    if softcap:
        logits = softcap * torch.tanh(logits / softcap)
    loss = F.cross_entropy(
        logits,
        target,
        weight=None if weight is None else weight.to(logits.dtype),
        ignore_index=ignore_index,
        reduction="none",
        label_smoothing=label_smoothing,
    )
    if z_loss:
        loss = loss + torch.where(target == ignore_index, 0, z_loss * logits.logsumexp(1) ** 2)
    return loss


def plain_gradients(logits: Tensor, target: Tensor, up: Tensor, **options) -> tuple[Tensor, Tensor]:
    """Row losses (N,) and d sum(up * loss) / d logits (N, V) by autograd."""
    leaf = logits.detach().clone().requires_grad_()
    loss = plain_loss(leaf, target, **options)
    (grad,) = torch.autograd.grad(loss, leaf, up.to(loss.dtype))
    return loss.detach(), grad


def assert_within_budget(ours: Tensor, torchs: Tensor, truth: Tensor, what: str) -> None:
    """|ours - truth| <= 2 max|torchs - truth| + 4 units in the last place of the truth.

    Where the truth is inf or NaN, ours must be the same. `torchs` may be NaN where PyTorch fails at
    this dtype; such entries add nothing to the budget.
    """
    ours, torchs, truth = ours.double(), torchs.double(), truth.double()
    finite = truth.isfinite()
    assert torch.equal(ours[~finite].nan_to_num(), truth[~finite].nan_to_num()), what
    assert ours[finite].isfinite().all(), f"{what}: not finite where the truth is"
    lost = (torchs - truth)[finite & torchs.isfinite()].abs()
    budget = 2 * (lost.max() if lost.numel() else 0.0)
    slack = 4 * torch.finfo(torch.float32).eps * truth[finite].abs() + 1e-30
    excess = ((ours - truth)[finite].abs() - slack - budget).amax() if finite.any() else -1.0
    assert excess <= 0, f"{what}: error exceeds twice PyTorch's own by {float(excess):.2e}"
