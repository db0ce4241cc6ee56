"""How the accuracies go with what makes an instance hard, such as its number of blanks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from percbal.evaluate.records import Record

MOST_VALUES = 8  # numbers with more are put into bins
BINS = 5
MOST_WORDS = 20  # a field with more names instances, not levels of them
LEVELS = ("easy", "medium", "hard")  # in this order; other words by the alphabet

Group = tuple[dict[str, Any], list[Record]]


def curves(
    records: Sequence[Record], measured: Callable[[Sequence[Record]], dict[str, Any]]
) -> list[dict[str, Any]]:
    """Of every field ``{"name", "values"}``, and of every value or bin what is ``measured``.

    A value is ``{"label", "n", "accuracies"}``, of numbers with the bounds ``"from"`` and ``"to"``.
    """
    names = dict.fromkeys(name for record in records for name in record.difficulty)
    found = []
    for name in names:
        having = [record for record in records if name in record.difficulty]
        values = [
            {**head, "n": len(group), "accuracies": measured(group)}
            for head, group in _groups(name, having)
        ]
        if values:
            found.append({"name": name, "values": values})
    return found


def _groups(name: str, records: Sequence[Record]) -> list[Group]:
    values = [record.difficulty[name] for record in records]
    distinct = set(values)
    if any(isinstance(value, str) for value in values):
        if len(distinct) > MOST_WORDS:
            return []
        order = sorted({str(value) for value in distinct}, key=_word_order)
        return [({"label": w}, [r for r in records if str(r.difficulty[name]) == w]) for w in order]
    numbers = np.array(values, np.float64)  # integers beyond 2^53 may become equal
    edges = np.unique(numbers)
    if len(edges) > MOST_VALUES:  # the least number of every bin; equal numbers are never parted
        edges = np.unique(np.quantile(numbers, np.arange(BINS) / BINS, method="higher"))
    place = np.searchsorted(edges, numbers, side="right")
    groups = []
    for bin_ in range(1, len(edges) + 1):
        group = [r for r, p in zip(records, place, strict=True) if p == bin_]
        own = [r.difficulty[name] for r in group]
        low, high = min(own), max(own)  # type: ignore[type-var]
        label = _said(low) if low == high else f"{_said(low)} to {_said(high)}"
        groups.append(({"label": label, "from": low, "to": high}, group))
    return groups


def _said(number: Any) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"


def _word_order(word: str) -> tuple[int, str]:
    return (LEVELS.index(word) if word in LEVELS else len(LEVELS)), word
