"""Several results on one page: what differs, paired where the instances are the same."""

from __future__ import annotations

from typing import Any

import numpy as np

from percbal.evaluate.intervals import paired_difference
from percbal.report.results import Result

METRICS = ("a", "a_p", "a_r")


def differences(base: Result, other: Result) -> list[dict[str, Any]]:
    """``other`` minus ``base`` on the same instances, an entry an accuracy; [] where they differ.

    Also how many instances' answers became right and wrong.
    """
    if [_same(r) for r in base.data["records"]] != [_same(r) for r in other.data["records"]]:
        return []
    found = []
    for metric in METRICS:
        ours, theirs = _means(other, metric), _means(base, metric)
        if ours is not None and theirs is not None:
            interval = paired_difference(ours, theirs)
            found.append(
                {
                    "metric": metric,
                    **interval._asdict(),
                    "gained": int((ours > theirs).sum()),
                    "lost": int((ours < theirs).sum()),
                }
            )
    return found


def _same(record: Any) -> tuple[Any, ...]:
    return record["index"], record["place"], record["query"], record["perception"]


def _means(result: Result, metric: str) -> np.ndarray | None:
    """(n,) share of an instance's completions that are right; None where that was not asked."""
    records = result.data["records"]
    if any(record[metric] is None for record in records):
        return None
    return np.array([np.mean([t[metric] for t in (r, *r["further"])]) for r in records])
