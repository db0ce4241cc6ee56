"""The accuracies of records, each with its 95% interval and its own denominator."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from typing import NamedTuple

from percbal.evaluate.intervals import (
    Interval,
    mean_interval,
    paired_difference,
    wilson_interval,
)
from percbal.evaluate.names import ACCURACIES, EXACT, MEANS
from percbal.evaluate.records import Record


class Accuracy(NamedTuple):
    """Over ``n`` instances; None where there are none."""

    value: float | None
    low: float | None
    high: float | None
    n: int

    @property
    def interval(self) -> Interval:
        """Raises ValueError where there is nothing to measure."""
        if self.value is None or self.low is None or self.high is None:
            raise ValueError("no instance can be judged by this accuracy")
        return Interval(self.value, self.low, self.high)


def measured(records: Sequence[Record]) -> dict[str, Accuracy]:
    """Every accuracy that was asked; ``reasoning`` over the instances that can be judged by it.

    Of one completion an instance Wilson's interval; of several, and of a mean that is no share, the
    mean over instances of their means, with a bootstrap interval over instances.
    """
    found = {}
    for name in ACCURACIES:
        values = [_values(record, name) for record in records]
        judged = [of_instance for of_instance in values if of_instance]
        if judged or name == "reasoning":
            found[name] = _accuracy(judged, is_share=name not in MEANS)
    return found


def headroom(records: Sequence[Record]) -> dict[str, Accuracy]:
    """How much higher a would be without the errors of one segment, all else as it is.

    ``perception``: a_r - a, if every picture were seen rightly; not there without a_r of every
    record. ``reasoning``: a_p - a, if those that are seen rightly were solved, and no others. The
    mean over instances in [-1, 1], with `paired_difference`'s interval; n instances.
    """
    a = _means([_values(record, "a") for record in records])
    found = {}
    for segment, name in (("perception", "a_r"), ("reasoning", "a_p")):
        values = [_values(record, name) for record in records]
        if records and all(values):
            found[segment] = Accuracy(*paired_difference(_means(values), a), len(records))
    return found


def _means(values: Sequence[Sequence[float]]) -> list[float]:
    """(n,) of every instance, over its completions."""
    return [sum(of) / len(of) for of in values]


def _values(record: Record, name: str) -> list[float]:
    """Of its trials, or the instance's one; of those that can be told."""
    found = [getattr(trial, name) for trial in (record.trials if name != EXACT else [record])]
    return [float(value) for value in found if value is not None]


def _accuracy(values: Sequence[Sequence[float]], is_share: bool) -> Accuracy:
    n = len(values)
    if not n:
        return Accuracy(None, None, None, 0)
    if is_share and max(map(len, values)) == 1:
        return Accuracy(*wilson_interval(int(sum(of[0] for of in values)), n), n)
    return Accuracy(*mean_interval(_means(values)), n)


def pass_at(k: int, right: int, n: int) -> float:
    """Chance that at least one of ``k`` completions is right, without bias from ``n`` of them.

    ``1 - C(n - right, k) / C(n, k)`` (M. Chen et al., arXiv:2107.03374).
    """
    return 1 - comb(n - right, k) / comb(n, k)


def pass_at_k(records: Sequence[Record], samples: int) -> dict[str, dict[str, Accuracy]]:
    """Accuracy -> k -> pass@k, for k in 1, 2, 4 .. and ``samples``; bootstrap over instances."""
    ks = sorted({samples, *(2**i for i in range(samples.bit_length()) if 2**i <= samples)})
    found = {}
    for name in ("a", "a_p", "a_r", "a_r_text"):
        if getattr(records[0], name) is None:
            continue
        right = [sum(getattr(trial, name) for trial in record.trials) for record in records]
        found[name] = {
            str(k): Accuracy(*mean_interval([pass_at(k, r, samples) for r in right]), len(right))
            for k in ks
        }
    return found
