"""NGDiff by norms from which the noise of the batch has been taken; math.md (M17)."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor

from percbal.objective.balance import Seen
from percbal.objective.ngdiff import NGDiff

log = logging.getLogger(__name__)

FLOOR = 0.1  # the least norm, in norms of the step's own gradient


def sums_of_pairs(whole: Tensor, own: Tensor, tokens: Tensor, token_squares: Tensor) -> Tensor:
    """(M17): sums over all pairs of different parts of a step, of ``g_i . g_j`` and ``p_i p_j``.

    whole: (S,) squared norms of the gradient of all parts together.
    own: (S,) sums of the squared norms of each part's gradient.
    tokens, token_squares: (S,) sums over parts of a part's tokens and of their squares, floating.
    Returns (2, S), whose ratio estimates the squared norm without noise; zeros for a segment that
    fewer than two parts have.
    """
    together = token_squares / tokens.square()  # 1 for a single part, NaN for none
    pairs = torch.stack((whole - own, 1 - together))
    return torch.where(together < 1, pairs, 0.0)


class UnbiasedNGDiff(NGDiff):
    """NGDiff by unbiased estimates of the squared norms, which need two parts of a step.

    They are noisy and may be negative, and the log of a noisy number is biased. So ``decay`` is
    that of exponential means of the sums over pairs, not of the log-odds. The squared norm is the
    ratio of two means: a step counts by the pairs that it has, and the first by no more than any
    other. Below ``FLOOR`` times the norm of the step's own gradient a norm counts as that.
    Other arguments are those of ``NGDiff``.
    """

    compares_parts = True
    name = "ngdiff_unbiased"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        if self.decay == 0:
            log.warning(
                "balance %s with ngdiff_decay=0 follows each step's noise, which it knows less "
                "well than ngdiff does: set ngdiff_decay to 0.9",
                self.name,
            )
        self._pairs = torch.zeros(2, len(self.shares))  # means of `Seen.pairs`

    def observe(self, seen: Seen) -> None:
        assert seen.gradient is not None and seen.pairs is not None
        there, old = seen.pairs[1] > 0, self._pairs.to(seen.pairs)
        mean = self.decay * old + (1 - self.decay) * seen.pairs
        self._pairs = torch.where(there, mean, old)
        squares = self._pairs[0] / self._pairs[1]
        norms = squares.clamp(min=0.0).sqrt().maximum(FLOOR * seen.gradient)
        self.update(torch.where(there, norms, torch.nan))

    def unknown(self) -> list[int]:
        known = (self._pairs[1] > 0).tolist()
        return [s for s in self.sharing if not known[s]]

    def _move(self, log_norms: Tensor) -> None:
        self._log_odds.follow(-log_norms, decay=0.0)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"pairs": self._pairs.tolist()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if "pairs" not in state:
            raise ValueError(
                f"the checkpoint holds no sums over pairs of micro-batches, which {self.name} "
                "keeps: another balance or an older version wrote it"
            )
        super().load_state_dict(state)
        self._pairs = torch.tensor(state["pairs"])
