"""The maths of docs/math.md in plain PyTorch: any device, any dtype, float64 for tests.

These functions are the operators wherever no compiled kernel serves, and the truth the kernels are
tested against. They hold several copies of the logits; the kernels hold none.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

INF = float("inf")


class Rows(NamedTuple):
    """What one pass over the logits tells about each row; see (M1), (M2)."""

    capped: Tensor  # u (N, V)
    slope: Tensor | None  # s (N, V); None means 1
    is_target: Tensor  # (N, V) bool
    valid: Tensor  # (N,) bool: target is not ignored
    exps: Tensor  # e (N, V), 0 at the target
    peak: Tensor  # m (N,), 0 where there is no finite rival
    rivals: Tensor  # S1 (N,)
    miss: Tensor  # q = 1 - p_y (N,)
    hit: Tensor  # p_y (N,)
    nll: Tensor  # (N,)
    rest: Tensor  # L - m (N,)
    lse: Tensor  # L (N,)


def accumulate_dtype(logits: Tensor) -> torch.dtype:
    """float64 for float64 logits, else float32."""
    return torch.float64 if logits.dtype == torch.float64 else torch.float32


def _rows(logits: Tensor, target: Tensor, ignore_index: int, softcap: float) -> Rows:
    u = logits.to(accumulate_dtype(logits))
    slope = None
    if softcap:
        u = u / softcap
        slope = torch.cosh(u) ** -2
        u = softcap * torch.tanh(u)
    valid = target != ignore_index
    index = torch.where(valid, target, 0)[:, None]
    is_target = torch.zeros_like(u, dtype=torch.bool).scatter(1, index, True)
    rivals = u.masked_fill(is_target, -INF)
    # Constant for the derivative: every result below is independent of the shift.
    peak = rivals.detach().amax(1)
    peak = torch.where(peak == -INF, 0.0, peak)
    exps = torch.exp(rivals - peak[:, None])
    total = exps.sum(1)
    u_y = u.gather(1, index)[:, 0]
    lead = (u_y - peak) - total.log()
    nll = torch.where(u_y == INF, torch.nan, -F.logsigmoid(lead))
    above = total.log() - F.logsigmoid(-lead)
    lse = torch.where(lead > 0, u_y + nll, peak + above)
    rest = torch.where(total > 0, above, lse - peak)
    miss = torch.where(u_y == INF, torch.nan, torch.sigmoid(-lead))
    hit = torch.sigmoid(lead)
    return Rows(u, slope, is_target, valid, exps, peak, total, miss, hit, nll, rest, lse)


def _ratio(rows: Rows) -> Tensor:
    """r = q / S1 of (M5), (N,); without rivals q is 0, or NaN in a row without a maximum."""
    return torch.where(rows.rivals == 0, rows.miss, rows.miss / rows.rivals)


def _class_weights(weight: Tensor | None, rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
    """w (V,), w_y (N,), W ()."""
    w = rows.capped.new_ones(rows.capped.shape[1]) if weight is None else weight.to(rows.capped)
    return w, (rows.is_target * w).sum(1), w.sum()


def _mass(rows: Rows, w_y: Tensor, w_sum: Tensor, smoothing: float, z_loss: float) -> Tensor:
    """A of (M4), (N,)."""
    share = smoothing / rows.capped.shape[1]
    mass = (1 - smoothing) * w_y + share * w_sum
    return mass + 2 * z_loss * rows.lse if z_loss else mass


def _target_gradient(
    rows: Rows, w_y: Tensor, w_sum: Tensor, mass: Tensor, smoothing: float, z_loss: float
) -> Tensor:
    """dl/dz_y of (M4) before its slope, (N,)."""
    share = smoothing / rows.capped.shape[1]
    likely = -mass * rows.miss + share * (w_sum - w_y)
    likely = likely + 2 * z_loss * rows.lse if z_loss else likely
    unlikely = mass * rows.hit - (1 - smoothing + share) * w_y
    return torch.where(rows.hit > 0.5, likely, unlikely)


def _loss(rows: Rows, weight: Tensor | None, smoothing: float, z_loss: float) -> Tensor:
    """(M3), (N,), 0 where the target is ignored."""
    w, w_y, w_sum = _class_weights(weight, rows)
    loss = (1 - smoothing) * w_y * rows.nll
    if smoothing:
        gaps = torch.where(rows.is_target, 0.0, rows.peak[:, None] - rows.capped)
        spread = (w * gaps).sum(1) + rows.rest * (w_sum - w_y) + w_y * rows.nll
        loss = loss + smoothing / w.numel() * spread
    if z_loss:
        loss = loss + z_loss * rows.lse**2
    return torch.where(rows.valid, loss, 0.0)


def _grad_sq(rows: Rows, weight: Tensor | None, smoothing: float, z_loss: float) -> Tensor:
    """(M5), (N,)."""
    w, w_y, w_sum = _class_weights(weight, rows)
    share = smoothing / w.numel()
    mass = _mass(rows, w_y, w_sum, smoothing, z_loss)
    at_target = _target_gradient(rows, w_y, w_sum, mass, smoothing, z_loss)
    slope_sq = torch.ones_like(rows.exps) if rows.slope is None else rows.slope**2
    slope_sq_y = (slope_sq * rows.is_target).sum(1)
    ratio = _ratio(rows)
    square = slope_sq_y * at_target**2 + (mass * ratio) ** 2 * (slope_sq * rows.exps**2).sum(1)
    if share:
        others = slope_sq * ~rows.is_target
        square = square - 2 * mass * share * ratio * (others * w * rows.exps).sum(1)
        square = square + share**2 * (others * w**2).sum(1)
    return torch.where(rows.valid, square.clamp(min=0), 0.0)


def token_cross_entropy(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    label_smoothing: float,
    z_loss: float,
    softcap: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss (N,), squared gradient norm (N,) and the statistics (N, 4) that backward needs."""
    rows = _rows(logits, target, ignore_index, softcap)
    ratio = _ratio(rows)
    stats = torch.stack((rows.peak, ratio, rows.miss, rows.lse), 1)
    return (
        _loss(rows, weight, label_smoothing, z_loss),
        _grad_sq(rows, weight, label_smoothing, z_loss),
        torch.where(rows.valid[:, None], stats, 0.0),
    )


def logit_gradient(
    row_grad: Tensor,
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    label_smoothing: float,
    z_loss: float,
    softcap: float,
) -> Tensor:
    """(M4) times row_grad (N,) -> (N, V) in the dtype of the logits; itself differentiable."""
    rows = _rows(logits, target, ignore_index, softcap)
    w, w_y, w_sum = _class_weights(weight, rows)
    mass = _mass(rows, w_y, w_sum, label_smoothing, z_loss)
    at_target = _target_gradient(rows, w_y, w_sum, mass, label_smoothing, z_loss)
    ratio = _ratio(rows)
    grad = (mass * ratio)[:, None] * rows.exps - label_smoothing / w.numel() * w
    grad = torch.where(rows.is_target, at_target[:, None], grad)
    if rows.slope is not None:
        grad = rows.slope * grad
    grad = torch.where(rows.valid[:, None], row_grad[:, None] * grad, 0.0)
    return grad.to(logits.dtype)


def token_cross_entropy_backward(
    row_grad: Tensor,
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    stats: Tensor,
    ignore_index: int,
    label_smoothing: float,
    z_loss: float,
    softcap: float,
) -> Tensor:
    """d(sum_t row_grad_t loss_t) / d logits (N, V). The statistics are recomputed, not read."""
    return logit_gradient(
        row_grad, logits, target, weight, ignore_index, label_smoothing, z_loss, softcap
    )


def weighted_cross_entropy(
    logits: Tensor,
    target: Tensor,
    row_weight: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    label_smoothing: float,
    z_loss: float,
    softcap: float,
    need_grad: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """sum_t row_weight_t loss_t (), loss (N,), squared gradient norm (N,) of the *unweighted* rows,
    and d sum / d logits (N, V), or an empty tensor where it is not needed."""
    options = (weight, ignore_index, label_smoothing, z_loss, softcap)
    loss, square, _ = token_cross_entropy(logits, target, *options)
    total = weighted_sum(row_weight, loss, target != ignore_index)
    if not need_grad:
        return total, loss, square, logits.new_empty(0)
    return total, loss, square, logit_gradient(row_weight, logits, target, *options)


def weighted_sum(row_weight: Tensor, loss: Tensor, valid: Tensor) -> Tensor:
    """() = sum over valid rows of row_weight * loss, added in float64."""
    terms = torch.where(valid, row_weight.double() * loss.double(), 0.0)
    return terms.sum().to(loss.dtype)


def weighted_cross_entropy_(
    logits: Tensor,
    target: Tensor,
    row_weight: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    label_smoothing: float,
    z_loss: float,
    softcap: float,
) -> tuple[Tensor, Tensor]:
    """Losses (N,) and squared norms (N,); the gradient (N, V) takes the place of the logits."""
    options = (weight, ignore_index, label_smoothing, z_loss, softcap)
    _, loss, grad_sq, dlogits = weighted_cross_entropy(logits, target, row_weight, *options, True)
    logits.copy_(dlogits)
    return loss, grad_sq


def scale_(x: Tensor, factor: Tensor) -> None:
    """x *= factor (), in place; a factor of exactly 1 leaves x untouched."""
    x.mul_(factor)
