"""Intervals for accuracies and for differences between two models on the same instances."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


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


def paired_difference(
    ours: ArrayLike, base: ArrayLike, *, level: float = 0.95, resamples: int = 4000, seed: int = 0
) -> Interval:
    """Mean of ``ours - base`` over the same instances, with a percentile bootstrap interval.

    Whole instances are drawn with replacement, so that what makes an instance hard for both
    models cancels. With several runs (training seeds), runs are drawn as well, independently of
    instances (the pigeonhole bootstrap: A. B. Owen, Annals of Applied Statistics 1, 2007,
    386-411); the interval then covers the variation between runs, coarsely if they are few. With
    one run it covers the choice of test instances alone.

    ours, base: (n,) or (runs, n), bool or float, paired by position.
    """
    shape = np.shape(ours)
    if shape != np.shape(base) or len(shape) not in (1, 2) or 0 in shape:
        raise ValueError(
            f"need two arrays of one shape (n,) or (runs, n), got {np.shape(ours)} and "
            f"{np.shape(base)}"
        )
    difference = np.atleast_2d(np.asarray(ours, np.float64) - np.asarray(base, np.float64))
    runs, n = difference.shape
    rng = np.random.default_rng(seed)
    # how often each instance and each run is drawn, as weights that sum to one
    instance_weight = rng.multinomial(n, np.full(n, 1 / n), size=resamples) / n  # (resamples, n)
    run_weight = rng.multinomial(runs, np.full(runs, 1 / runs), size=resamples) / runs
    means = np.einsum("br,br->b", run_weight, instance_weight @ difference.T)
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    return Interval(float(difference.mean()), float(low), float(high))
