"""Log-probability and entropy of a chunk of rows, and their joint gradient; (M2), (M11)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

# exp of it is 0 in float64; 0 * -1000 is 0 where 0 * -inf would be NaN
FLOOR = -1000.0


class Rows(NamedTuple):
    """Per row (n,), float32 (float64 for float64 logits)."""

    nll: Tensor
    entropy: Tensor  # H
    peak: Tensor  # m
    ratio: Tensor  # q / S1
    miss: Tensor  # q = 1 - p_y
    rest: Tensor  # L - m
    depth: Tensor  # S5 / S1


def scaled(logits: Tensor, temperature: float, softcap: float) -> tuple[Tensor, Tensor | float]:
    """u (n, V) = cap(z) / temperature in fp32 or fp64, over z where it can be; s of (M1)."""
    u = logits if logits.dtype == torch.float64 else logits.float()
    if not softcap:
        return (u if temperature == 1.0 else u.div_(temperature)), 1.0
    u.div_(softcap)
    slope = torch.cosh(u).pow_(-2)
    return u.tanh_().mul_(softcap / temperature), slope


def rows_forward(u: Tensor, target: Tensor) -> Rows:
    """u (n, V) is used up; target (n,) in [0, V)."""
    index = target[:, None]
    u_y = u.gather(1, index)[:, 0]
    u.scatter_(1, index, -torch.inf)  # the rivals
    peak = u.amax(1)
    peak = torch.where(peak == -torch.inf, 0.0, peak)
    gaps = u.sub_(peak[:, None]).clamp_(min=FLOOR)
    exps = gaps.exp()
    total = exps.sum(1)  # S1; 0 where the target is alone or all its rivals are at -inf
    sunk = -exps.mul_(gaps).sum(1)  # S5
    lead = (u_y - peak) - total.log()
    nll = torch.where(u_y == torch.inf, torch.nan, -F.logsigmoid(lead))
    above = total.log() - F.logsigmoid(-lead)
    rest = torch.where(total == 0, u_y + nll - peak, above)
    miss, hit = torch.sigmoid(-lead), torch.sigmoid(lead)
    depth = torch.where(total == 0, 0.0, sunk / total)
    entropy = torch.where(hit == 0, 0.0, hit * nll)
    entropy = entropy + torch.where(miss == 0, 0.0, miss * (rest + depth))
    ratio = torch.where(total == 0, 0.0, miss / total)
    return Rows(nll, entropy, peak, ratio, miss, rest, depth)


def rows_gradient(
    u: Tensor, target: Tensor, rows: Rows, grad_logprob: Tensor, grad_entropy: Tensor
) -> Tensor:
    """d(sum_t a_t logprob_t + b_t H_t) / du (n, V), written over u; a, b (n,); (M11)."""
    a, b = grad_logprob, grad_entropy
    hit = torch.exp(-rows.nll)
    pull = rows.miss * (rows.nll - rows.rest - rows.depth)
    at_target = a * rows.miss + b * torch.where((hit == 0) | (rows.miss == 0), 0.0, hit * pull)
    gaps = u.sub_(rows.peak[:, None]).clamp_(min=FLOOR)
    probs = gaps.exp().mul_(rows.ratio[:, None])
    offset = b * (rows.rest - rows.entropy) - a
    grad = gaps.mul_(-b[:, None]).add_(offset[:, None]).mul_(probs)
    return grad.scatter_(1, target[:, None], at_target[:, None])
