"""Metrics of one evaluation call and one data set, under that set's own name.

TRL adds what it gathered since the last log to whatever is logged next, always as ``eval_<name>``:
a ``predict`` ends up in the next ``evaluate``, and several sets overwrite each other.
"""

from __future__ import annotations

import math
from typing import Any

from percbal.models.callbacks import AttachesCallbacks


class MetricsOfEachSet(AttachesCallbacks):
    """For a Trainer of TRL, listed before it: what ``evaluate`` and ``predict`` return is theirs.

    Their names begin with the call's ``metric_key_prefix``, as the Trainer's own do:
    ``eval_<name>``, ``eval_<set>_<name>``, ``test_<name>``.
    """

    def _drain_evaluation(self) -> dict[str, float]:
        """What the subclass itself gathered in evaluation, and begin anew."""
        raise NotImplementedError

    def _forget_evaluation(self) -> None:
        """Begin anew, on this rank alone."""
        raise NotImplementedError

    def evaluation_loop(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> Any:
        trainer: Any = self
        trainer._metrics["eval"].clear()
        self._forget_evaluation()
        output = super().evaluation_loop(  # type: ignore[misc]
            *args, metric_key_prefix=metric_key_prefix, **kwargs
        )
        gathered = {name: _mean(values) for name, values in trainer._metrics["eval"].items()}
        trainer._metrics["eval"].clear()
        for name, value in (gathered | self._drain_evaluation()).items():
            output.metrics[f"{metric_key_prefix}_{name}"] = value
        return output


def _mean(values: list[float]) -> float | None:
    """As TRL logs it: of the values that are there, None where none is."""
    there = [value for value in values if not math.isnan(value)]
    return sum(there) / len(there) if there else None
