"""Log-probability and entropy of a chunk of rows, and their joint gradient, in plain PyTorch; (M2),
(M11). C++ has the same two operators for the CPU, triton/ for CUDA."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from percbal_ops.losses.reference import accumulate_dtype, capped

BLOCK = 1 << 22  # logits worked on at once: bounds the fp32 copies of them
# exp of it is 0 in float64; 0 * -1000 is 0 where 0 * -inf would be NaN
FLOOR = -1000.0


def token_logprob_rows(
    logits: Tensor, target: Tensor, temperature: float, softcap: float
) -> tuple[Tensor, Tensor, Tensor]:
    """logits (n, V), target (n,) in [0, V) -> log-probability (n,), entropy (n,), float32 (float64
    for float64 logits), and what the gradient needs (n, 5): m before the temperature, q / S1, q,
    L - m - H, dH/du_y."""
    dtype = accumulate_dtype(logits)
    logprob, entropy = (logits.new_empty(len(logits), dtype=dtype) for _ in range(2))
    stats = logits.new_empty(len(logits), 5, dtype=dtype)
    for rows in _blocks(logits):
        u, _ = capped(logits[rows], softcap)
        logprob[rows], entropy[rows], stats[rows] = _statistics(u, target[rows], temperature)
    return logprob, entropy, stats


def _statistics(u: Tensor, target: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    index = target[:, None]
    u_y = u.gather(1, index)[:, 0]
    others = u.scatter(1, index, -torch.inf)
    max_logit = others.amax(1)
    max_logit = torch.where(max_logit == -torch.inf, 0.0, max_logit)
    gaps = others.sub_(max_logit[:, None]).div_(temperature).clamp_(min=FLOOR)
    exps = gaps.exp()
    total = exps.sum(1)  # S1; 0 where the target is alone or all others are at -inf
    sunk = -exps.mul_(gaps).sum(1)  # S5
    ahead = (u_y - max_logit) / temperature
    lead = torch.where(u_y == torch.inf, torch.nan, ahead - total.log())
    nll = -F.logsigmoid(lead)
    rest = torch.where(total == 0, ahead + nll, total.log() - F.logsigmoid(-lead))  # L - m
    one_minus_p, p_target = torch.sigmoid(-lead), torch.sigmoid(lead)
    depth = torch.where(total == 0, 0.0, sunk / total)
    entropy = torch.where(p_target == 0, 0.0, p_target * nll)
    entropy = entropy + torch.where(one_minus_p == 0, 0.0, one_minus_p * (rest + depth))
    ratio = torch.where(one_minus_p == 0, 0.0, one_minus_p / total)
    pull = p_target * one_minus_p * (nll - rest - depth)
    at_target = torch.where((p_target == 0) | (one_minus_p == 0), 0.0, pull)
    return -nll, entropy, torch.stack((max_logit, ratio, one_minus_p, rest - entropy, at_target), 1)


def token_logprob_gradient_(
    logits: Tensor,
    target: Tensor,
    stats: Tensor,
    grad_logprob: Tensor,
    grad_entropy: Tensor,
    temperature: float,
    softcap: float,
) -> None:
    """d(sum_t a_t logprob_t + b_t H_t) / d logits (n, V), written over them; a, b (n,)."""
    a, b = grad_logprob[:, None], grad_entropy[:, None]
    for rows in _blocks(logits):
        max_logit, ratio, one_minus_p, level, pull = stats[rows].unsqueeze(2).unbind(1)
        u, slope = capped(logits[rows], softcap)
        gaps = u.sub(max_logit).div_(temperature).clamp_(min=FLOOR)
        grad = gaps.exp().mul_(ratio).mul_(gaps.mul_(-b[rows]).add_(b[rows] * level - a[rows]))
        grad.scatter_(1, target[rows, None], a[rows] * one_minus_p + b[rows] * pull)
        logits[rows] = grad.mul_((1 if slope is None else slope) / temperature)


def _blocks(logits: Tensor) -> Iterator[slice]:
    rows = max(1, BLOCK // logits.shape[1])
    for start in range(0, logits.shape[0], rows):
        yield slice(start, start + rows)
