"""Two diagnoses on the same instances: what changed, and whether that is more than chance.

They are compared as `Diagnosis.to_dict` gives them: neither the models nor torch need be there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from percbal.evaluate.intervals import paired_difference
from percbal.evaluate.names import ACCURACIES, EXACT, MEANS

Result = Mapping[str, Any]
Pair = tuple[Mapping[str, Any], Mapping[str, Any]]  # records of one instance
SAME = ("query", "perception", "truth")  # of the records of one instance


def compare(base: Result, other: Result) -> dict[str, Any]:
    """``other`` minus ``base`` for every accuracy that both have, over the instances of both.

    Gives ``{"n", "notes", "accuracies"}``; of an accuracy ``{"base", "other", "difference", "low",
    "high", "n", "p", "gained", "lost"}``: the means, their paired difference with a bootstrap
    interval, how many instances have both, McNemar's exact p, and which of them flipped.
    Raises ValueError where the instances are others.
    """
    pairs, notes = _paired(base, other)
    found = {name: _compared(name, pairs) for name in ACCURACIES}
    return {
        "n": len(pairs),
        "notes": notes,
        "accuracies": {name: value for name, value in found.items() if value is not None},
    }


def _paired(base: Result, other: Result) -> tuple[list[Pair], list[str]]:
    ours = {record["index"]: record for record in other["records"]}
    pairs = [(r, ours[r["index"]]) for r in base["records"] if r["index"] in ours]
    unlike = [(a, b) for a, b in pairs if any(a[name] != b[name] for name in SAME)]
    sources = _source(base, other), _source(other, base)
    both = {"source": sources, **{n: (base[n], other[n]) for n in ("split", "seed")}}
    said = "; ".join(f"{n} {_short(a)} and {_short(b)}" for n, (a, b) in both.items() if a != b)
    if not pairs:
        raise ValueError("they have no instance in common" + (f": {said}" if said else ""))
    if unlike:
        why = f": {said}" if said else f", such as {unlike[0][0]['place']}"
        raise ValueError(f"{len(unlike)} of {len(pairs)} instances are others{why}")
    return pairs, notes_of(base, other, len(pairs), said)


def _source(result: Result, beside: Result) -> dict[str, Any]:
    """Where it comes from, without what an older result beside it does not say."""
    known = "described" in beside["source"]
    return {k: value for k, value in result["source"].items() if k != "described" or known}


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def notes_of(base: Result, other: Result, n: int, said: str) -> list[str]:
    """What a reader should know of the instances and of how they were asked."""
    notes = []
    if said:
        notes.append(f"other {said}; but the questions and true perceptions are the same")
    counts = len(base["records"]), len(other["records"])
    if counts != (n, n):
        notes.append(f"{counts[0]} and {counts[1]} instances, compared on the {n} of both")
    options = base["options"], other["options"]
    differ = [name for name in {**options[0], **options[1]} if name not in ("ways", "dtype")]
    differ = [name for name in differ if options[0].get(name) != options[1].get(name)]
    if differ:
        each = (f"{name} {_short(o.get(name))}" for name in differ for o in options)
        notes.append(f"asked otherwise: {', '.join(each)}")
    return notes


def _compared(name: str, pairs: Sequence[Pair]) -> dict[str, Any] | None:
    rows = [(a["place"], _value(a, name), _value(b, name)) for a, b in pairs]
    both = [(place, x, y) for place, x, y in rows if x is not None and y is not None]
    if not both:
        return None
    base, other = ([row[i] for row in both] for i in (1, 2))
    difference, low, high = paired_difference(other, base)
    gained = [place for place, x, y in both if y > x]
    lost = [place for place, x, y in both if y < x]
    sampled = any(record["further"] for pair in pairs for record in pair)
    return {
        "base": sum(base) / len(both),
        "other": sum(other) / len(both),
        "difference": difference,
        "low": low,
        "high": high,
        "n": len(both),
        "p": mcnemar(len(gained), len(lost)) if not sampled and name not in MEANS else None,
        "gained": gained,
        "lost": lost,
    }


def _value(record: Mapping[str, Any], name: str) -> float | None:
    """Its mean over the samples; None where nobody can tell."""
    trials = [record] if name == EXACT else [record, *record["further"]]
    values = [trial[name] for trial in trials if trial.get(name) is not None]
    return sum(map(float, values)) / len(values) if values else None


def mcnemar(gained: int, lost: int) -> float:
    """The exact two-sided p of McNemar's test: flips are as likely one way as the other."""
    from scipy import stats  # of percbal[train]

    return float(stats.binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
