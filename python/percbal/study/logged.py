"""What a training's log says of the parts of the training, by the steps and not by the entries.

Entries may be dense at first and sparse later, and a training may end before its time: the third of
it that never came has no mean.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

History = list[dict[str, Any]]  # entries of a trainer's log, with the step at which each was made
Means = list[float | None]  # of the parts of a training; None where nothing was logged

SFT_LOGS = ("loss_share_p", "token_share_p", "lambda")
GRPO_LOGS = (  # what would explain a training that taught nothing
    *("entropy", "grad_norm", "completions/mean_length", "segments/parse_fail"),
    *("coupling/silent_groups", "coupling/mostly_wrong"),
)
SIGNAL = re.compile(r"coupling/r_(\w+)_perception")  # of a reward whose coupling is followed


def thirds(steps: int) -> list[int]:
    """The last steps of the three thirds of so many."""
    return [round(steps * i / 3) for i in (1, 2, 3)]


def logged(history: History, keys: Sequence[str], ends: Sequence[int]) -> dict[str, Means]:
    """Means of what was logged by these names, each by the last part of its name.

    ends: the last step of each part; the first part begins with the training.
    """
    found = {}
    for key in keys:
        means = _means(history, key, ends)
        if any(mean is not None for mean in means):
            found[key.split("/")[-1]] = means
    return found


def signals(history: History, ends: Sequence[int]) -> dict[str, Means]:
    """Mean within-group correlation with perception of each reward that was followed."""
    names = dict.fromkeys(
        match[1] for entry in history for key in entry if (match := SIGNAL.fullmatch(key))
    )
    found = {name: _means(history, f"coupling/r_{name}_perception", ends) for name in names}
    return {name: means for name, means in found.items() if any(m is not None for m in means)}


def _means(history: History, key: str, ends: Sequence[int]) -> Means:
    """Each entry counts by the steps since the one before it."""
    entries = [entry for entry in history if key in entry]
    before = [0, *(entry["step"] for entry in entries)][: len(entries)]
    found: Means = []
    for first, last in zip([0, *ends[:-1]], ends, strict=True):
        part = [
            (float(entry[key]), entry["step"] - since)
            for entry, since in zip(entries, before, strict=True)
            if first < entry["step"] <= last
        ]
        values, weights = zip(*part, strict=True) if part else ((), ())
        found.append(float(np.average(values, weights=weights)) if part else None)
    return found
