"""The maths of docs/math.md in plain PyTorch: any dtype, float64 for tests.

These functions are the operators wherever no compiled kernel serves, and the truth the kernels are
tested against. They hold several copies of the logits; the kernels hold none. Operators take
their options flat, as in library.SCHEMAS.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from percbal_ops.losses.options import LossOptions, packed

INF = float("inf")


class Rows(NamedTuple):
    """What one pass over the logits tells about each row; see (M1), (M2)."""

    capped: Tensor  # u (N, V)
    slope: Tensor | None  # s (N, V); None means 1
    is_target: Tensor  # (N, V) bool
    valid: Tensor  # (N,) bool: target is not ignored
    exps: Tensor  # e (N, V), 0 at the target
    max_logit: Tensor  # m (N,), 0 where no non-target logit is finite
    exp_sum: Tensor  # S1 (N,), over the non-target classes
    one_minus_p: Tensor  # q = 1 - p_y (N,)
    p_target: Tensor  # p_y (N,)
    nll: Tensor  # (N,)
    rest: Tensor  # L - m (N,)
    lse: Tensor  # L (N,)


def accumulate_dtype(logits: Tensor) -> torch.dtype:
    """float64 for float64 logits, else float32."""
    return torch.float64 if logits.dtype == torch.float64 else torch.float32


def under_autocast(x: Tensor) -> bool:
    """torch raises where it is asked about a device without autocast: the meta device has none."""
    return x.device.type != "meta" and torch.is_autocast_enabled(x.device.type)


def capped(logits: Tensor, softcap: float) -> tuple[Tensor, Tensor | None]:
    """u and s of (M1), in fp32 or fp64; None without a softcap, where the slope is 1."""
    u = logits.to(accumulate_dtype(logits))
    if not softcap:
        return u, None
    u = u / softcap
    return softcap * torch.tanh(u), torch.cosh(u) ** -2


def _rows(logits: Tensor, target: Tensor, options: LossOptions) -> Rows:
    u, slope = capped(logits, options.softcap)
    valid = target != options.ignore_index
    index = torch.where(valid, target, 0)[:, None]
    is_target = torch.zeros_like(u, dtype=torch.bool).scatter(1, index, True)
    others = u.masked_fill(is_target, -INF)
    # Constant for the derivative: every result below is independent of the shift.
    max_logit = others.detach().amax(1)
    max_logit = torch.where(max_logit == -INF, 0.0, max_logit)
    exps = torch.exp(others - max_logit[:, None])
    total = exps.sum(1)
    u_y = u.gather(1, index)[:, 0]
    # Without other classes: nothing of ln 0 may reach a derivative, where it would be 0 * inf.
    others_exist = total != 0
    log_total = torch.where(others_exist, total, 1.0).log()
    gap = (u_y - max_logit) - log_total
    certain = torch.where(u_y.isfinite(), INF, torch.nan)
    lead = torch.where(others_exist, gap, certain)
    nll = torch.where(u_y == INF, torch.nan, -F.logsigmoid(lead))
    above = log_total - F.logsigmoid(-torch.where(others_exist, lead, 0.0))
    lse = torch.where(lead > 0, u_y + nll, max_logit + above)
    rest = torch.where(others_exist, above, lse - max_logit)
    one_minus_p = torch.where(u_y == INF, torch.nan, torch.sigmoid(-lead))
    p_target = torch.sigmoid(lead)
    return Rows(
        u, slope, is_target, valid, exps, max_logit, total, one_minus_p, p_target, nll, rest, lse
    )


def _ratio(rows: Rows) -> Tensor:
    """r = q / S1 of (M5), (N,); without other classes q is 0, or NaN in a row without a maximum."""
    return rows.one_minus_p / torch.where(rows.exp_sum == 0, 1.0, rows.exp_sum)


class _Weights(NamedTuple):
    """Class weights, and the numbers that hold for every row of a call."""

    w: Tensor  # (V,)
    w_y: Tensor  # (N,)
    w_sum: Tensor  # W ()
    share: float  # eps / V


def _weights(rows: Rows, options: LossOptions) -> _Weights:
    vocab, given = rows.capped.shape[1], options.class_weight
    w = rows.capped.new_ones(vocab) if given is None else given.to(rows.capped)
    return _Weights(w, (rows.is_target * w).sum(1), w.sum(), options.label_smoothing / vocab)


def _mass(rows: Rows, weights: _Weights, options: LossOptions) -> Tensor:
    """A of (M4), (N,)."""
    mass = (1 - options.label_smoothing) * weights.w_y + weights.share * weights.w_sum
    return mass + 2 * options.z_loss * rows.lse if options.z_loss else mass


def _target_gradient(rows: Rows, weights: _Weights, mass: Tensor, options: LossOptions) -> Tensor:
    """dl/dz_y of (M4) before its slope, (N,)."""
    _, w_y, w_sum, share = weights
    likely = -mass * rows.one_minus_p + share * (w_sum - w_y)
    likely = likely + 2 * options.z_loss * rows.lse if options.z_loss else likely
    unlikely = mass * rows.p_target - (1 - options.label_smoothing + share) * w_y
    return torch.where(rows.p_target > 0.5, likely, unlikely)


def _loss(rows: Rows, options: LossOptions) -> Tensor:
    """(M3), (N,), 0 where the target is ignored."""
    w, w_y, w_sum, share = _weights(rows, options)
    loss = (1 - options.label_smoothing) * w_y * rows.nll
    if options.label_smoothing:
        gaps = torch.where(rows.is_target, 0.0, rows.max_logit[:, None] - rows.capped)
        spread = (w * gaps).sum(1) + rows.rest * (w_sum - w_y) + w_y * rows.nll
        loss = loss + share * spread
    if options.z_loss:
        loss = loss + options.z_loss * rows.lse**2
    return torch.where(rows.valid, loss, 0.0)


def _grad_sq(rows: Rows, options: LossOptions) -> Tensor:
    """(M5), (N,)."""
    weights = _weights(rows, options)
    w, share = weights.w, weights.share
    mass = _mass(rows, weights, options)
    at_target = _target_gradient(rows, weights, mass, options)
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
    logits: Tensor, target: Tensor, *flat: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss (N,), squared gradient norm (N,) and the statistics (N, 4) that Triton's backward reads,
    too, since it may serve that: m, A q / S1, dl/dz_y before its slope, L. The C++ kernels have
    others (csrc/core/losses/cross_entropy.h): statistics are private to a device's backends."""
    options = LossOptions(*flat)
    rows = _rows(logits, target, options)
    weights = _weights(rows, options)
    mass = _mass(rows, weights, options)
    at_target = _target_gradient(rows, weights, mass, options)
    stats = torch.stack((rows.max_logit, mass * _ratio(rows), at_target, rows.lse), 1)
    return (
        _loss(rows, options),
        _grad_sq(rows, options),
        torch.where(rows.valid[:, None], stats, 0.0),
    )


def logit_gradient(
    row_grad: Tensor, logits: Tensor, target: Tensor, options: LossOptions
) -> Tensor:
    """(M4) times row_grad (N,) -> (N, V) in the dtype of the logits; itself differentiable."""
    rows = _rows(logits, target, options)
    weights = _weights(rows, options)
    mass = _mass(rows, weights, options)
    at_target = _target_gradient(rows, weights, mass, options)
    grad = (mass * _ratio(rows))[:, None] * rows.exps - weights.share * weights.w
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
    *numbers: Any,
) -> Tensor:
    """d(sum_t row_grad_t loss_t) / d logits (N, V). The statistics are recomputed, not read."""
    return logit_gradient(row_grad, logits, target, LossOptions(weight, *numbers))


def weighted_cross_entropy(
    logits: Tensor, target: Tensor, row_weight: Tensor, *flat: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """sum_t row_weight_t loss_t (), loss (N,), squared gradient norm (N,) of the *unweighted* rows,
    and d sum / d logits (N, V), or an empty tensor where it is not needed."""
    options, need_grad = packed(flat)
    loss, square, _ = token_cross_entropy(logits, target, *options)
    total = weighted_sum(row_weight, loss, target != options.ignore_index)
    if not need_grad:
        return total, loss, square, logits.new_empty(0)
    return total, loss, square, logit_gradient(row_weight, logits, target, options)


def weighted_sum(row_weight: Tensor, loss: Tensor, valid: Tensor) -> Tensor:
    """() = sum over valid rows of row_weight * loss, added in float64."""
    terms = torch.where(valid, row_weight.double() * loss.double(), 0.0)
    return terms.sum().to(loss.dtype)


def weighted_cross_entropy_(
    logits: Tensor, target: Tensor, row_weight: Tensor, *flat: Any
) -> tuple[Tensor, Tensor]:
    """Losses (N,) and squared norms (N,); the gradient (N, V) takes the place of the logits."""
    _, loss, grad_sq, dlogits = weighted_cross_entropy(logits, target, row_weight, *flat, True)
    logits.copy_(dlogits)
    return loss, grad_sq


def scale_(x: Tensor, factor: Tensor) -> None:
    """x *= factor (), in place; a factor of exactly 1 leaves x untouched."""
    x.mul_(factor)
