"""Intervals for accuracies and for differences between two models, over instances and over seeds.

SciPy comes with percbal[train]. It is imported where it is used: the other intervals do without.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

DRAWN = 2**22  # values of a bootstrap at once, to bound its memory


class Interval(NamedTuple):
    """An estimate and its two-sided confidence bounds."""

    value: float
    low: float
    high: float


def wilson_interval(successes: int, n: int, *, z: float = 1.959964) -> Interval:
    """Wilson's score interval for a proportion (E. B. Wilson, JASA 22, 1927, 209-212).

    It stays inside [0, 1] and keeps its coverage near 0 and 1, where ``p +- 2 se`` does not.
    z: the normal quantile; the default gives 95%. Raises ValueError unless 0 <= successes <= n
    and n > 0.
    """
    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f"need 0 <= successes <= n and n > 0, got {successes} of {n}")
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # at 0 and n the exact bound is the edge itself; rounding must not cross it
    return Interval(p, max(0.0, min(centre - half, p)), min(1.0, max(centre + half, p)))


def mean_interval(
    values: ArrayLike, *, level: float = 0.95, resamples: int = 4000, seed: int = 0
) -> Interval:
    """Mean of ``values``, one of each instance, with a percentile bootstrap interval.

    Equal values in [0, 1], of which a bootstrap has no width, get the bounds of (M18).

    values: (n,) float, n > 0. Raises ValueError for another shape.
    """
    each = np.asarray(values, np.float64)
    if each.ndim != 1 or not len(each):
        raise ValueError(f"need one value or more, (n,), got {each.shape}")
    if _are_equal_shares(each, each):
        return _of_equal(float(each[0]), len(each), 0.0, level)
    rng = np.random.default_rng(seed)
    rows = max(1, min(resamples, DRAWN // len(each)))
    means = [
        each[rng.integers(len(each), size=(min(rows, resamples - start), len(each)))].mean(1)
        for start in range(0, resamples, rows)
    ]
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(np.concatenate(means), [tail, 100 - tail])
    return Interval(float(each.mean()), float(low), float(high))


def paired_difference(
    ours: ArrayLike, base: ArrayLike, *, level: float = 0.95, resamples: int = 4000, seed: int = 0
) -> Interval:
    """Mean of ``ours - base`` over the same instances, with a percentile bootstrap interval.

    Whole instances are drawn with replacement, so that what makes an instance hard for both
    models cancels. With several runs (training seeds), runs are drawn as well, independently of
    instances (the pigeonhole bootstrap: A. B. Owen, Annals of Applied Statistics 1, 2007,
    386-411); the interval then covers the variation between runs, coarsely if they are few. With
    one run it covers the choice of test instances alone.

    Equal differences of (n,) values in [0, 1] get the bounds of (M18). Those of runs are left
    without a width, since equal runs tell nothing of others.

    ours, base: (n,) or (runs, n), bool or float, paired by position. Raises ValueError for others.
    """
    shape = np.shape(ours)
    if shape != np.shape(base) or len(shape) not in (1, 2) or 0 in shape:
        raise ValueError(
            f"need two arrays of one shape (n,) or (runs, n), got {np.shape(ours)} and "
            f"{np.shape(base)}"
        )
    pair = np.asarray(ours, np.float64), np.asarray(base, np.float64)
    each = pair[0] - pair[1]
    if len(shape) == 1 and _are_equal_shares(each, *pair):
        return _of_equal(float(each[0]), shape[0], -1.0, level)
    difference = np.atleast_2d(each)
    runs, n = difference.shape
    rng = np.random.default_rng(seed)
    # how often each instance and each run is drawn, as weights that sum to one
    rows = max(1, min(resamples, DRAWN // n))
    of_runs = np.concatenate(  # (resamples, runs)
        [
            rng.multinomial(n, np.full(n, 1 / n), size=min(rows, resamples - start))
            / n
            @ difference.T
            for start in range(0, resamples, rows)
        ]
    )
    run_weight = rng.multinomial(runs, np.full(runs, 1 / runs), size=resamples) / runs
    means = np.einsum("br,br->b", run_weight, of_runs)
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    return Interval(float(difference.mean()), float(low), float(high))


def _are_equal_shares(each: NDArray[np.float64], *of: NDArray[np.float64]) -> bool:
    """Whether all of ``each`` are one number, and what they are made of lies in [0, 1]."""
    return bool(np.ptp(each) == 0) and all(0 <= a.min() and a.max() <= 1 for a in of)


def _of_equal(value: float, n: int, least: float, level: float) -> Interval:
    """(M18): ``n`` equal values of at least ``least`` and at most 1."""
    unseen = 1 - ((1 - level) / 2) ** (1 / n)
    return Interval(value, value - unseen * (value - least), value + unseen * (1 - value))


def t_interval(values: ArrayLike, *, level: float = 0.95) -> Interval:
    """Mean of ``values``, one of each run, with Student's t interval.

    ``mean +- t(n - 1) s / sqrt(n)``, s the standard deviation with n - 1 in its denominator. It
    takes the runs for a sample of all runs and says nothing of instances, which they share. The
    fewer runs, the wider: at 95% t is 12.7 for two, 4.3 for three, 2.3 for nine.

    values: (n,) float, n > 1.
    """
    from scipy import stats

    runs = np.asarray(values, np.float64)
    if runs.ndim != 1 or len(runs) < 2:
        raise ValueError(f"a t interval needs two runs or more, (n,), got {runs.shape}")
    half = stats.t.ppf((1 + level) / 2, len(runs) - 1) * runs.std(ddof=1) / math.sqrt(len(runs))
    return Interval(float(runs.mean()), float(runs.mean() - half), float(runs.mean() + half))


def t_power(effect: float, sd: float, n: int, *, level: float = 0.95) -> float:
    """Chance that the t interval over ``n`` runs lies wholly above 0.

    effect > 0: the true mean; sd: the true standard deviation between runs, which are normal.
    The mean over its standard error is then noncentral t with n - 1 degrees of freedom.
    """
    from scipy import stats

    critical = stats.t.ppf((1 + level) / 2, n - 1)
    return float(stats.nct.sf(critical, n - 1, effect / (sd / math.sqrt(n))))


def detectable(sd: float, n: int, *, power: float = 0.8, level: float = 0.95) -> float:
    """The true mean that ``t_power`` finds with the chance ``power``, in the units of ``sd``."""
    from scipy import optimize

    def missing(effect: float) -> float:
        return t_power(effect, 1.0, n, level=level) - power

    return sd * float(optimize.brentq(missing, 0.0, 100.0))
