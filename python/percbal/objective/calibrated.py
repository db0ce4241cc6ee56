"""NGDiff by norms that cost nothing, set right by exact ones now and then; math.md (M16)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from percbal.objective.balance import Seen
from percbal.objective.ngdiff import NGDiff, Ratios, options_of

DECAY = 0.5  # of the exponential mean of exact / stand-in, over exact measurements


class Calibrated(NGDiff):
    """Exact norms in some steps; between them stand-ins times a running mean of exact / stand-in.

    The stand-in is the geometric mean of a norm that costs nothing and of the segment's loss, which
    err in different ways: together they follow a batch better than either.

    every: the most steps from one exact measurement to the next. It begins with 1, doubles when a
        measurement is as the stand-ins predicted, and halves when it is not.
    tolerance: by how much a segment's log-odds may be off in a prediction that holds.
    A sharing segment that no exact step has shown is not waited for: once a step has it, the next
    one is exact.
    Other arguments are those of ``NGDiff``.
    """

    stand_in = "any"
    name = "calibrated"

    def __init__(self, *, every: int = 24, tolerance: float = 0.3, **options: Any) -> None:
        super().__init__(**options)
        if every < 1:
            raise ValueError(f"calibrated_every must be at least 1, got {every}")
        if not tolerance > 0:
            raise ValueError(f"calibrated_tolerance must be positive, got {tolerance}")
        self.every, self.tolerance = every, tolerance
        self._begin()

    @classmethod
    def from_options(cls, options: Any) -> Calibrated:
        return cls(
            every=options.calibrated_every,
            tolerance=options.calibrated_tolerance,
            **options_of(options),
        )

    def _begin(self) -> None:
        self._forget_factors()
        self._level: str | None = None  # of the stand-ins that the factors are of
        self._interval = 1  # from one exact measurement to the next
        self._left = 0  # steps until it

    def _forget_factors(self) -> None:
        self._factors = Ratios(len(self.sharing))  # of exact / stand-in
        self._known = [False] * len(self.sharing)  # whether an exact step has shown it

    def due(self) -> bool:
        return self._left == 0

    def observe(self, seen: Seen) -> None:
        if self._level not in (None, seen.level):  # gone on from a run with other stand-ins
            self._begin()
        self._level = seen.level
        stand_in = (self._logs(seen.stand_in) + self._logs(seen.losses)) / 2
        if seen.gradient is None:
            factors = self._factors.value.to(stand_in.device)
            norms = stand_in + torch.cat((factors, factors.new_zeros(1)))
            known = torch.tensor(self._known, device=norms.device)
            self._move(torch.where(known, norms, torch.nan))
            self._left = 0 if self._shows_unknown(stand_in) else max(self._left - 1, 0)
            return
        exact = self._logs(seen.gradient)
        self._move(exact)
        self._plan(exact - stand_in)

    def _plan(self, factors: Tensor) -> None:
        """Log exact / stand-in (K,) of a step: when to look next. The host waits for them."""
        there = factors.isfinite().tolist()
        if sum(there) < 2:
            there = [False] * len(there)
        if there[-1] and not self._known[-1]:
            self._forget_factors()  # they are ratios to the last one, and were to another
        off = (self._factors.of(factors) - self._factors.value.to(factors.device)).tolist()
        self._factors.follow(factors, DECAY)
        known = [abs(x) for x in off if math.isfinite(x)]
        if known or not any(there):  # a step that shows nothing contradicts nothing
            right = max(known, default=0.0) <= self.tolerance
            longer, shorter = min(2 * self._interval, self.every), max(self._interval // 2, 1)
            self._interval = longer if right else shorter
        self._known = [old or new for old, new in zip(self._known, there, strict=True)]
        self._left = self._interval - 1

    def _shows_unknown(self, stand_in: Tensor) -> bool:
        """Whether exact norms of such a step (K,) would give one more segment a factor. The host
        waits for the answer, as long as there is a segment without."""
        if all(self._known):
            return False
        there = stand_in.isfinite().tolist()
        unknown = any(new and not old for new, old in zip(there, self._known, strict=True))
        return unknown and sum(there) > 1

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {
            "factors": self._factors.dump(),
            "known": self._known,
            "level": self._level,
            "interval": self._interval,
            "left": self._left,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if "factors" not in state:
            raise ValueError("the checkpoint was not trained with calibrated: it holds no factors")
        super().load_state_dict(state)
        self._factors.load(state["factors"])
        whole = None not in state["factors"]  # older versions have no "known"
        self._known = list(state.get("known", [whole] * len(self.sharing)))
        self._level = state.get("level")
        self._interval = min(state["interval"], self.every)
        self._left = min(state["left"], self._interval - 1)
