"""One rank's part of a row of logits, and how parts merge: plain PyTorch of (M12)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from percbal_ops.losses.reference import capped

BLOCK = 1 << 24  # logits worked on at once: bounds the fp32 temporaries, whatever the batch


class Merged(NamedTuple):
    """Rows of the whole vocabulary, each (N,), the same on every rank."""

    loss: Tensor
    grad_sq: Tensor
    max_logit: Tensor  # m
    target_weight: Tensor  # w_y
    mass: Tensor  # A q / S1: the gradient of a non-target class is s_i (mass e_i - share w_i)
    at_target: Tensor  # the target's gradient before its slope
    share: Tensor  # eps / V


def shard_statistics(
    logits: Tensor, target: Tensor, weight: Tensor | None, softcap: float, smoothed: bool
) -> Tensor:
    """logits (N, V_r); target (N,) local, -1 where another rank holds it; weight (V_r,) of the
    rank's classes -> (6 or 11, N).

    m, S1, S2, u_y (-inf elsewhere), s_y (0 elsewhere), w_y (-inf elsewhere); with smoothing S3, S4,
    D, the sum of the weights and V_r.
    """
    rows = max(1, BLOCK // logits.shape[1])
    parts = [
        _statistics(z, y, weight, softcap, smoothed)
        for z, y in zip(logits.split(rows), target.split(rows), strict=True)
    ]
    return torch.cat(parts, 1)


def _statistics(
    logits: Tensor, target: Tensor, weight: Tensor | None, softcap: float, smoothed: bool
) -> Tensor:
    u, slope = capped(logits, softcap)
    here, index = target >= 0, target.clamp(min=0)[:, None]
    own = torch.zeros_like(u, dtype=torch.bool).scatter_(1, index, here[:, None])
    others = u.masked_fill(own, -torch.inf)
    max_logit = others.amax(1)
    shift = torch.where(max_logit == -torch.inf, 0.0, max_logit)[:, None]
    exps = torch.exp(others - shift)
    slope_sq = torch.ones_like(u) if slope is None else slope**2
    at_target = [torch.where(here, t.gather(1, index)[:, 0], t.new_ones(())) for t in (u, slope_sq)]
    w = u.new_ones(u.shape[1]) if weight is None else weight.to(u)
    fields = [
        max_logit,
        exps.sum(1),
        (slope_sq * exps**2).sum(1),
        torch.where(here, at_target[0], -torch.inf),
        torch.where(here, at_target[1].sqrt(), 0.0),
        torch.where(here, w[index[:, 0]], -torch.inf),
    ]
    if smoothed:
        fields += [
            (slope_sq * w * exps).sum(1),
            torch.where(own, 0.0, slope_sq * w**2).sum(1),
            torch.where(own, 0.0, w * (shift - u)).sum(1),
            w.sum().expand_as(max_logit),
            torch.full_like(max_logit, logits.shape[1]),
        ]
    return torch.stack(fields)


def merge(parts: Tensor, valid: Tensor, smoothing: float, z_loss: float) -> Merged:
    """parts (ranks, 6 or 11, N), valid (N,) -> rows of the whole vocabulary; (M3)-(M5)."""
    maxima, s1, s2, u_y, s_y, of_target, *more = parts.unbind(1)
    max_logit = maxima.amax(0)
    max_logit = torch.where(max_logit == -torch.inf, 0.0, max_logit)
    scale = torch.exp(maxima - max_logit)
    s1, s2 = (scale * s1).sum(0), (scale**2 * s2).sum(0)
    u_y, s_y, w_y = u_y.amax(0), s_y.sum(0), of_target.amax(0)
    w_y = torch.where(w_y == -torch.inf, 1.0, w_y)  # no rank holds the target: an infinite loss
    lead = (u_y - max_logit) - s1.log()
    nll = torch.where(u_y == torch.inf, torch.nan, -F.logsigmoid(lead))
    above = s1.log() - F.logsigmoid(-lead)
    one_minus_p, p_target = torch.sigmoid(-lead), torch.sigmoid(lead)
    lse = torch.where(lead > 0, u_y + nll, max_logit + above)
    ratio = torch.where(s1 == 0, 0.0, one_minus_p / s1)
    pull = 2 * z_loss * lse if z_loss else torch.zeros_like(nll)
    loss, share = w_y * nll, torch.zeros_like(nll)
    mass, others, square = w_y + pull, pull, torch.zeros_like(nll)
    if smoothing:
        s3, s4, gaps, weights, classes = more
        share, total = smoothing / classes.sum(0), weights.sum(0)
        # sums of m_r - u become sums of m - u; a rank without such classes adds nothing
        shifts = torch.where(maxima == -torch.inf, max_logit, max_logit - maxima)
        here = of_target > -torch.inf
        other_weights = weights - torch.where(here, of_target, 0.0)
        moved = torch.where(classes > here, other_weights * shifts, 0.0)
        rest = torch.where(s1 == 0, lse - max_logit, above)
        spread = (gaps + moved).sum(0) + rest * (total - w_y) + w_y * nll
        loss = (1 - smoothing) * w_y * nll + share * spread
        mass = (1 - smoothing) * w_y + share * total + pull
        others = share * (total - w_y) + pull
        square = -2 * mass * share * ratio * (scale * s3).sum(0) + share**2 * s4.sum(0)
    if z_loss:
        loss = loss + z_loss * lse**2
    # two forms of one number, each where it does not cancel; (M4)
    unlikely = mass * p_target - (1 - smoothing + share) * w_y
    at_target = torch.where(p_target > 0.5, others - mass * one_minus_p, unlikely)
    square = (square + (mass * ratio) ** 2 * s2 + (s_y * at_target) ** 2).clamp(min=0)
    rows = (loss, square, max_logit, w_y, mass * ratio, at_target, share)
    return Merged(*(torch.where(valid, row, 0.0) for row in rows))


def shard_gradient(
    row_grad: Tensor,
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    rows: Merged,
    softcap: float,
) -> Tensor:
    """row_grad (N,) times this rank's columns of (M4) -> (N, V_r) in the dtype of the logits."""
    out = torch.empty_like(logits, memory_format=torch.contiguous_format)
    size = max(1, BLOCK // logits.shape[1])
    for start in range(0, logits.shape[0], size):
        part = slice(start, start + size)
        u, slope = capped(logits[part], softcap)
        _, _, max_logit, _, mass, at_target, share = (row[part, None] for row in rows)
        grad = mass * torch.exp(u - max_logit)
        grad -= share if weight is None else share * weight.to(u)
        here, index = (target[part] >= 0)[:, None], target[part].clamp(min=0)[:, None]
        grad.scatter_(1, index, torch.where(here, at_target, grad.gather(1, index)))
        if slope is not None:
            grad.mul_(slope)
        out[part] = torch.where(row_grad[part, None] == 0, 0.0, grad.mul_(row_grad[part, None]))
    return out
