"""From the sums of `CouplingStats` to the numbers a person reads: (C1) to (C13)."""

from __future__ import annotations

import functools
import math
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from torch import Tensor

from percbal_ops import coupling_reference as f

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Correlation:
    """A Pearson correlation and its interval; each () or (C,) float64."""

    r: Tensor  # NaN when a side is constant
    low: Tensor  # NaN with fewer than two groups that inform it
    high: Tensor
    count: Tensor  # rollouts with both values
    groups: Tensor  # groups the interval rests on
    echo: Tensor  # r if every success had the target right (C7), (C9); NaN unless binary


@dataclass(frozen=True)
class Coupled:
    """The outcome against one target; each () or (C,) float64."""

    pooled: Correlation  # over all rollouts (C1)
    within: Correlation  # group means removed: all that GRPO sees (C2)
    outcome_mean: Tensor
    target_mean: Tensor
    wrong_success: Tensor  # share of successes with the target wrong; NaN unless binary
    echo_ratio: Tensor  # r / echo, pooled (C8)


@dataclass(frozen=True)
class Signal:
    """What the policy gradient sees of the outcome, against perception; each () or (C,)."""

    conflict_rate: Tensor  # of rollouts with an advantage: right but -, or wrong but + (C12)
    conflict_share: Tensor  # of advantage mass, z-score form
    share_right: Tensor  # of advantage mass on right perception, z-score form (C13)
    share_wrong: Tensor
    share_right_centred: Tensor  # the same for the centred-only advantage
    share_wrong_centred: Tensor
    praised_wrong: Tensor  # of wrong-perception rollouts, those with a positive advantage
    blamed_right: Tensor  # of right-perception rollouts, those with a negative advantage
    silent_groups: Tensor  # share of groups whose advantages are all zero
    scored: Tensor  # rollouts with an outcome
    groups: Tensor  # groups with at least one


@dataclass(frozen=True)
class GroupTable:
    """Correlations of each group; NaN where a side is constant in it."""

    ids: Tensor  # (G,) int64
    correlation: Tensor  # (T, G) or (T, C, G) float64; T: perception, then reasoning
    count: Tensor  # the same shape, int64


@dataclass(frozen=True)
class RewardCoupling:
    """See docs/coupling.md for what each number means and when it says little."""

    perception: Coupled
    reasoning: Coupled | None
    signal: Signal
    groups: GroupTable | None

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and lists, NaN as None: ready for JSON."""
        return _plain(asdict(self))


def summarise(
    pair: Tensor,
    signal: Tensor,
    origin_outcome: Tensor,
    origin_target: Tensor,
    confidence: float,
    groups: GroupTable | None,
) -> RewardCoupling:
    """pair: (T, [C,] 40); signal: ([C,] 17); origins: ([C]), (T,)."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0 is NaN, which is the answer
        # (T, 1) beside (T, C): the targets' arithmetic at once, which is half the calls of NumPy
        targets = origin_target.view(-1, *[1] * (pair.dim() - 2)).numpy()
        both = _coupled(pair.numpy(), origin_outcome.numpy(), targets, confidence)
        seen = _signal(signal.numpy())
    coupled = [_of_target(both, t) for t in range(len(pair))]
    return RewardCoupling(coupled[0], coupled[1] if len(coupled) > 1 else None, seen, groups)


def _of_target(both: Coupled, t: int) -> Coupled:
    def pick(correlation: Correlation) -> Correlation:
        return Correlation(**{k: v[t] for k, v in vars(correlation).items()})

    rest = {k: v[t] for k, v in vars(both).items() if isinstance(v, Tensor)}
    return Coupled(pooled=pick(both.pooled), within=pick(both.within), **rest)


def _coupled(p: Array, origin_x: Array, origin_y: Array, confidence: float) -> Coupled:
    n, sx, sy, xx, xy, yy = _fields(p[..., f.COUNT])
    mean_x, mean_y = sx / n, sy / n  # about the origin; NaN without rollouts
    vxx, vxy, vyy = xx / n - mean_x**2, xy / n - mean_x * mean_y, yy / n - mean_y**2
    # a variance this far below the second moment is rounding: the column is constant
    vxx = np.where(vxx > 1e-12 * xx / n, vxx, 0)
    vyy = np.where(vyy > 1e-12 * yy / n, vyy, 0)
    r = _pearson(vxx, vxy, vyy)
    pooled_variance = _pooled_variance(p, r, mean_x, mean_y, vxx, vyy)
    outcome_mean, target_mean = mean_x + origin_x, mean_y + origin_y
    binary = p[..., f.BINARY] == n
    # successes with the target wrong: for binary rewards, the mean of x (1 - y)
    wrong = outcome_mean * (1 - target_mean) - vxy

    wxx, wxy, wyy = _fields(p[..., f.WITHIN])
    within = _pearson(wxx, wxy, wyy)
    echo = _nan_unless(binary, _ratio(vxx, outcome_mean * (1 - target_mean), vyy))
    echo_within = _nan_unless(binary, _ratio(wxx, p[..., f.ECHO_WITHIN], wyy))
    return Coupled(
        pooled=_interval(r, pooled_variance, n, p[..., f.GROUPS], echo, confidence),
        within=_interval(
            within, _within_variance(p, within), n, p[..., f.INFORMATIVE], echo_within, confidence
        ),
        outcome_mean=_tensor(outcome_mean),
        target_mean=_tensor(target_mean),
        wrong_success=_tensor(_nan_unless(binary, wrong / outcome_mean)),
        echo_ratio=_tensor(r / echo),
    )


def _fields(block: Array) -> tuple[Array, ...]:
    return tuple(block[..., i] for i in range(block.shape[-1]))


def _tensor(value: Array) -> Tensor:
    return torch.from_numpy(np.array(value, dtype=np.float64))


def _nan_unless(keep: Array, value: Array) -> Array:
    return np.where(keep, value, np.nan)


def _pearson(xx: Array, xy: Array, yy: Array) -> Array:
    """(C1); a constant side makes it NaN."""
    return np.clip(_ratio(xx, xy, yy), -1, 1)


def _ratio(xx: Array, xy: Array, yy: Array) -> Array:
    return _nan_unless((xx > 0) & (yy > 0), xy / (np.sqrt(xx) * np.sqrt(yy)))


def _quadratic(c: list[Array], upper: Array) -> Array:
    """c' M c for M given by its upper triangle, (..., K (K + 1) / 2)."""
    i, j, times = _triangle(len(c))
    stacked = np.stack(c, -1)
    terms = times * stacked[..., i] * stacked[..., j] * upper
    return np.maximum(terms.sum(-1), 0)


@functools.cache
def _triangle(k: int) -> tuple[Array, Array, Array]:
    """Rows, columns and multiplicities of the upper triangle of a symmetric (K, K) matrix."""
    i, j = np.triu_indices(k)
    return i, j, np.where(i == j, 1, 2)


def _pooled_variance(
    p: Array, r: Array, mean_x: Array, mean_y: Array, vxx: Array, vyy: Array
) -> Array:
    """(C4): the influence of a group on r is linear in its moments, so its square is quadratic."""
    # zx zy - r (zx^2 + zy^2) / 2 as coefficients of (1, x, y, xx, xy, yy)
    cxx, cxy, cyy = -r / (2 * vxx), 1 / np.sqrt(vxx * vyy), -r / (2 * vyy)
    coefficients = [
        cxx * mean_x**2 + cxy * mean_x * mean_y + cyy * mean_y**2,
        -2 * cxx * mean_x - cxy * mean_y,
        -2 * cyy * mean_y - cxy * mean_x,
        cxx,
        cxy,
        cyy,
    ]
    return _quadratic(coefficients, p[..., f.MOMENTS]) / p[..., 0] ** 2


def _within_variance(p: Array, r: Array) -> Array:
    """(C5), the same for the sums of the groups' central moments."""
    wxx, _, wyy = _fields(p[..., f.WITHIN])
    return _quadratic(
        [-r / (2 * wxx), 1 / np.sqrt(wxx * wyy), -r / (2 * wyy)], p[..., f.WITHIN_OUTER]
    )


def _interval(
    r: Array, variance: Array, n: Array, groups: Array, echo: Array, confidence: float
) -> Correlation:
    """(C3): Fisher's z with the cluster-robust variance and Student's t on groups - 1."""
    counts = np.asarray(groups)
    t = np.array([t_quantile((1 + confidence) / 2, int(g) - 1) for g in counts.flat])
    half = t.reshape(counts.shape) * np.sqrt(variance * groups / (groups - 1)) / (1 - r**2)
    known, certain = groups > 1, np.abs(r) == 1
    low, high = (
        _nan_unless(known, np.where(certain, r, np.tanh(np.arctanh(r) + sign * half)))
        for sign in (-1, 1)
    )
    return Correlation(*(_tensor(v) for v in (r, low, high, n, groups, echo)))


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
    for _ in range(6):  # quadratic from a start within a few per cent
        density = math.exp(log_scale - (df + 1) / 2 * math.log1p(t * t / df))
        t -= (_t_cdf(t, df) - q) / density
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


def _signal(s: Array) -> Signal:
    right_up, right_down, wrong_up, wrong_down = _fields(s[..., f.CELLS])
    right = s[..., f.KNOWN_RIGHT]
    wrong = s[..., f.KNOWN] - right
    moved = right_up + right_down + wrong_up + wrong_down
    mass, centred = s[..., f.MASS_SCALED], s[..., f.MASS_CENTRED]
    total, total_centred = mass.sum(-1), centred.sum(-1)
    return Signal(
        conflict_rate=_tensor((right_down + wrong_up) / moved),
        conflict_share=_tensor((mass[..., 1] + mass[..., 2]) / total),
        share_right=_tensor(mass[..., :2].sum(-1) / total),
        share_wrong=_tensor(mass[..., 2:].sum(-1) / total),
        share_right_centred=_tensor(centred[..., :2].sum(-1) / total_centred),
        share_wrong_centred=_tensor(centred[..., 2:].sum(-1) / total_centred),
        praised_wrong=_tensor(wrong_up / wrong),
        blamed_right=_tensor(right_down / right),
        silent_groups=_tensor(s[..., f.SILENT_GROUPS] / s[..., f.SCORED_GROUPS]),
        scored=_tensor(s[..., f.SCORED]),
        groups=_tensor(s[..., f.SCORED_GROUPS]),
    )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, Tensor):
        return _plain(value.tolist())
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and math.isnan(value) else value
