"""From the sums of `CouplingStats` to its numbers, in plain torch: (C1) to (C13).

The signature of the operator `coupling_summary`; csrc/core/coupling/ computes the same.
"""

from __future__ import annotations

import functools
import math
from statistics import NormalDist

import torch
from torch import Tensor

from percbal_ops.coupling import reference as f

PAIR_NUMBERS, SIGNAL_NUMBERS = 16, 11


def coupling_summary(
    pair: Tensor, signal: Tensor, origin_outcome: Tensor, origin_target: Tensor, confidence: float
) -> tuple[Tensor, Tensor]:
    """pair (K, C, 40), signal (C, 17) -> numbers of the pairs (K, 16, C), of the signals (11, C),
    in the order of the fields of `Coupled` and `Signal`."""
    numbers = _pair_numbers(pair, origin_outcome, origin_target[:, None], confidence)
    return torch.stack(numbers, 1), torch.stack(_signal_numbers(signal))


def _pair_numbers(p: Tensor, origin_x: Tensor, origin_y: Tensor, confidence: float) -> list[Tensor]:
    """Each (K, C)."""
    n, sx, sy, xx, xy, yy = p[..., f.COUNT].unbind(-1)
    mean_x, mean_y = sx / n, sy / n  # about the origin; NaN without rollouts
    vxx, vxy, vyy = xx / n - mean_x**2, xy / n - mean_x * mean_y, yy / n - mean_y**2
    # a variance this far below the second moment is rounding: the column is constant
    vxx = vxx.where(vxx > 1e-12 * xx / n, 0)
    vyy = vyy.where(vyy > 1e-12 * yy / n, 0)
    r = _pearson(vxx, vxy, vyy)
    pooled_variance = _pooled_variance(p, r, mean_x, mean_y, vxx, vyy)
    outcome_mean, target_mean = mean_x + origin_x, mean_y + origin_y
    binary = p[..., f.BINARY] == n
    right_success = outcome_mean * (1 - target_mean)

    wxx, wxy, wyy = p[..., f.WITHIN].unbind(-1)
    within = _pearson(wxx, wxy, wyy)
    echo = _ratio(vxx, right_success, vyy).where(binary, math.nan)
    echo_within = _ratio(wxx, p[..., f.ECHO_WITHIN], wyy).where(binary, math.nan)
    # successes with the target wrong: for binary rewards, the mean of x (1 - y)
    wrong_success = ((right_success - vxy) / outcome_mean).where(binary, math.nan)
    within_variance = _within_variance(p, within)
    return [
        *_correlation(r, pooled_variance, n, p[..., f.GROUPS], echo, confidence),
        *_correlation(within, within_variance, n, p[..., f.INFORMATIVE], echo_within, confidence),
        outcome_mean,
        target_mean,
        wrong_success,
        r / echo,
    ]


def _pearson(xx: Tensor, xy: Tensor, yy: Tensor) -> Tensor:
    """(C1); a constant side makes it NaN."""
    return _ratio(xx, xy, yy).clamp(-1, 1)


def _ratio(xx: Tensor, xy: Tensor, yy: Tensor) -> Tensor:
    return (xy / (xx.sqrt() * yy.sqrt())).where((xx > 0) & (yy > 0), math.nan)


def _quadratic(c: list[Tensor], upper: Tensor) -> Tensor:
    """c' M c for M given by its upper triangle, (..., n (n + 1) / 2)."""
    i, j = torch.triu_indices(len(c), len(c))
    stacked = torch.stack(c, -1)
    terms = torch.where(i == j, 1, 2) * stacked[..., i] * stacked[..., j] * upper
    return terms.sum(-1).clamp(min=0)


def _pooled_variance(
    p: Tensor, r: Tensor, mean_x: Tensor, mean_y: Tensor, vxx: Tensor, vyy: Tensor
) -> Tensor:
    """(C4): the influence of a group on r is linear in its moments, so its square is quadratic."""
    # zx zy - r (zx^2 + zy^2) / 2 as coefficients of (1, x, y, xx, xy, yy)
    cxx, cxy, cyy = -r / (2 * vxx), 1 / (vxx * vyy).sqrt(), -r / (2 * vyy)
    coefficients = [
        cxx * mean_x**2 + cxy * mean_x * mean_y + cyy * mean_y**2,
        -2 * cxx * mean_x - cxy * mean_y,
        -2 * cyy * mean_y - cxy * mean_x,
        cxx,
        cxy,
        cyy,
    ]
    return _quadratic(coefficients, p[..., f.MOMENTS]) / p[..., 0] ** 2


def _within_variance(p: Tensor, r: Tensor) -> Tensor:
    """(C5), the same for the sums of the groups' central moments."""
    wxx, _, wyy = p[..., f.WITHIN].unbind(-1)
    return _quadratic(
        [-r / (2 * wxx), 1 / (wxx * wyy).sqrt(), -r / (2 * wyy)], p[..., f.WITHIN_OUTER]
    )


def _correlation(
    r: Tensor, variance: Tensor, n: Tensor, groups: Tensor, echo: Tensor, confidence: float
) -> list[Tensor]:
    """(C3): Fisher's z with the cluster-robust variance and Student's t on groups - 1."""
    q = (1 + confidence) / 2
    t = r.new_tensor([t_quantile(q, int(g) - 1) for g in groups.flatten().tolist()])
    half = t.view_as(r) * (variance * groups / (groups - 1)).sqrt() / (1 - r**2)
    ends = []
    for sign in (-1, 1):
        end = (r.arctanh() + sign * half).tanh().where(r.abs() < 1, r)
        ends.append(end.where(groups > 1, math.nan))
    return [r, *ends, n, groups, echo]


@functools.cache
def t_quantile(q: float, df: int) -> float:
    """Quantile of Student's t for q >= 0.5: exact for df 1 and 2, else Newton steps on (the
    regularised incomplete beta function's) CDF from the normal quantile."""
    if df < 1:
        return math.nan
    if df == 1:
        return math.tan(math.pi * (q - 0.5))
    if df == 2:
        a = 2 * q - 1
        return a * math.sqrt(2 / (1 - a * a))
    z = NormalDist().inv_cdf(q)
    t = z + (z**3 + z) / (4 * df) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * df * df)
    if df > 1000:
        return t
    log_scale = math.lgamma((df + 1) / 2) - math.lgamma(df / 2) - 0.5 * math.log(df * math.pi)
    for _ in range(100):  # a few steps, more where the tail is heavy
        density = math.exp(log_scale - (df + 1) / 2 * math.log1p(t * t / df))
        change = (_t_cdf(t, df) - q) / density
        t -= change
        if abs(change) <= 1e-14 * t:
            break
    return t


def _t_cdf(t: float, df: int) -> float:
    """For integer df, the finite trigonometric sums of Abramowitz and Stegun 26.7.3 and 26.7.4."""
    theta = math.atan(t / math.sqrt(df))
    cos2 = math.cos(theta) ** 2
    term = math.cos(theta) if df % 2 else 1.0
    total = 0.0
    for k in range(2 + df % 2, df + 1, 2):
        total += term
        term *= cos2 * (k - 1) / k
    total *= math.sin(theta)
    return 0.5 + ((theta + total) / math.pi if df % 2 else total / 2)


def _signal_numbers(s: Tensor) -> list[Tensor]:
    """Each (C,)."""
    right_up, right_down, wrong_up, wrong_down = s[..., f.CELLS].unbind(-1)
    right = s[..., f.KNOWN_RIGHT]
    wrong = s[..., f.KNOWN] - right
    moved = right_up + right_down + wrong_up + wrong_down
    mass, centred = s[..., f.MASS_SCALED], s[..., f.MASS_CENTRED]
    total, total_centred = mass.sum(-1), centred.sum(-1)
    return [
        (right_down + wrong_up) / moved,
        (mass[..., 1] + mass[..., 2]) / total,
        mass[..., :2].sum(-1) / total,
        mass[..., 2:].sum(-1) / total,
        centred[..., :2].sum(-1) / total_centred,
        centred[..., 2:].sum(-1) / total_centred,
        wrong_up / wrong,
        right_down / right,
        s[..., f.SILENT_GROUPS] / s[..., f.SCORED_GROUPS],
        s[..., f.SCORED],
        s[..., f.SCORED_GROUPS],
    ]
