"""NGDiff by norms from which the noise of the batch has been taken; math.md (M17)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from percbal.objective.balance import Seen
from percbal.objective.ngdiff import NGDiff

FLOOR = 0.1  # the least norm, in norms of the step's own gradient


class UnbiasedNGDiff(NGDiff):
    """NGDiff by unbiased estimates of the squared norms, which need two micro-batches in a step.

    They are noisy and may be negative, and the log of a noisy number is biased. So ``decay`` is
    that of an exponential mean of the squares, not of the log-odds, and below ``FLOOR`` times the
    norm of the step's own gradient a norm counts as that. Other arguments are those of ``NGDiff``.
    """

    compares_parts = True
    name = "ngdiff_unbiased"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._squares = torch.full((len(self.shares),), torch.nan)  # their means, NaN: none yet

    def observe(self, seen: Seen) -> None:
        assert seen.gradient is not None and seen.squares is not None
        new, old = seen.squares, self._squares.to(seen.squares)
        there = new.isfinite()
        mean = torch.where(old.isnan(), new, self.decay * old + (1 - self.decay) * new)
        self._squares = torch.where(there, mean, old)
        norms = self._squares.clamp(min=0.0).sqrt().maximum(FLOOR * seen.gradient)
        self.update(torch.where(there, norms, torch.nan))

    def _move(self, log_norms: Tensor) -> None:
        self._log_odds.follow(-log_norms, decay=0.0)

    def state_dict(self) -> dict[str, Any]:
        squares = [None if x != x else x for x in self._squares.tolist()]
        return super().state_dict() | {"squares": squares}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if "squares" not in state:
            raise ValueError(
                f"the checkpoint was not trained with {self.name}: it holds no squares of norms"
            )
        super().load_state_dict(state)
        self._squares = torch.tensor([torch.nan if x is None else x for x in state["squares"]])
