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

    every: the most steps from one exact measurement to the next, as far as batches allow. It begins
        with 1, doubles when a measurement is as the stand-ins predicted, and halves when it is not.
    tolerance: by how much a segment's log-odds may be off in a prediction that holds.
    A measurement compares segments, so it is not spent on a batch that has fewer than two of those
    that share: it waits for one that has. So does each segment that the last measurement did not
    show, or that none has: the first step that has it beside another is exact.
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
        self._factors = Ratios(len(self.sharing))  # of exact / stand-in
        self._known = torch.zeros(len(self.sharing), dtype=torch.bool)  # shown by an exact step
        self._level: str | None = None  # of the stand-ins that the factors are of
        self._interval = 1  # from one exact measurement to the next
        self._left = 0  # steps until it
        self._waiting = [True] * len(self.sharing)  # for a measurement before that

    def due(self, counts: Tensor) -> bool:
        """The host looks at the counts only where a segment waits for a measurement."""
        waiting = self._wait()
        if not any(waiting):
            return False
        there = self._there(counts)
        return sum(there) > 1 and any(w and t for w, t in zip(waiting, there, strict=True))

    def _wait(self) -> list[bool]:
        """Of the sharing segments, which wait for a measurement."""
        return self._waiting if self._left else [True] * len(self.sharing)

    def _there(self, counts: Tensor) -> list[bool]:
        """(S,) -> which of the sharing segments have tokens."""
        has = (counts > 0).tolist()
        return [has[s] for s in self.sharing]

    def observe(self, seen: Seen) -> None:
        if self._level not in (None, seen.level):  # gone on from a run with other stand-ins
            self._begin()
        self._level = seen.level
        stand_in = (self._logs(seen.stand_in) + self._logs(seen.losses)) / 2
        if seen.gradient is None:
            factors = self._factors.value.to(stand_in.device)
            norms = stand_in + torch.cat((factors, factors.new_zeros(1)))
            self._known = self._known.to(norms.device)  # once: a copy to a device is waited for
            self._move(torch.where(self._known, norms, torch.nan))
            self._left = max(self._left - 1, 0)
            return
        exact = self._logs(seen.gradient)
        self._move(exact)
        self._plan(exact - stand_in, self._there(seen.counts))

    def _plan(self, factors: Tensor, has_tokens: list[bool]) -> None:
        """Log exact / stand-in (K,) of a step: when to look next. The host waits for them."""
        there = factors.isfinite().tolist()
        if sum(there) < 2:
            there = [False] * len(there)
        self._factors.link(factors)
        off = (self._factors.of(factors) - self._factors.value.to(factors.device)).tolist()
        self._factors.follow(factors, DECAY)
        known = [abs(x) for x in off if math.isfinite(x)]
        if known or not any(there):  # norms that say nothing contradict nothing
            right = max(known, default=0.0) <= self.tolerance
            longer, shorter = min(2 * self._interval, self.every), max(self._interval // 2, 1)
            self._interval = longer if right else shorter
        self._known = self._known | torch.tensor(there, device=self._known.device)
        # one with tokens was measured, even where nothing came of it: it waits for the next time
        pairs = zip(self._wait(), has_tokens, strict=True)
        self._waiting = [waits and not has for waits, has in pairs]
        self._left = self._interval - 1

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {
            "factors": self._factors.dump(),
            "factor_groups": self._factors.groups(),
            "known": self._known.tolist(),
            "level": self._level,
            "interval": self._interval,
            "left": self._left,
            "waiting": self._waiting,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if "factors" not in state:
            raise ValueError("the checkpoint was not trained with calibrated: it holds no factors")
        super().load_state_dict(state)
        # what has a default is not in the checkpoints of older versions
        whole = None not in state["factors"]
        known = list(state.get("known", [whole] * len(self.sharing)))
        self._known = torch.tensor(known)
        groups = [len(known) if each else i for i, each in enumerate(known)]
        self._factors.load(state["factors"], state.get("factor_groups", groups))
        self._waiting = list(state.get("waiting", [not each for each in known]))
        self._level = state.get("level")
        self._interval = min(state["interval"], self.every)
        self._left = min(state["left"], self._interval - 1)
