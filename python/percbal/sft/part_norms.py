"""Norms without the noise of the batch, from the micro-batches' own gradients; math.md (M17)."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from torch import Tensor

from percbal.objective.unbiased import sums_of_pairs
from percbal_ops import SegmentOutput


class PartNorms:
    """What the parts of a step add to the squared norm of their sum by each one's own noise.

    of_all_ranks: whether a part is a micro-batch of all ranks together, else one of this rank.
    """

    def __init__(self, accelerator: Accelerator, *, of_all_ranks: bool) -> None:
        self.accelerator, self.of_all_ranks = accelerator, of_all_ranks
        self._sums: Tensor | None = None  # (3, S): squared norms, tokens, squared tokens

    def reset(self) -> None:
        """Forget the parts of a step that was interrupted."""
        self._sums = None

    def add(self, norms: list[Tensor], results: list[SegmentOutput]) -> None:
        """A part: for each segment () the norm of its gradient, and this rank's losses."""
        counts = [result.segment_count[s] for s, result in enumerate(results)]
        tokens = torch.stack(counts).float()
        if self.of_all_ranks:
            tokens = self.accelerator.reduce(tokens, "sum")
        new = torch.stack((torch.stack(norms).square(), tokens, tokens.square()))
        self._sums = new if self._sums is None else self._sums + new

    def take(self, norms: Tensor) -> Tensor:
        """(2, S) float32 `sums_of_pairs`, the same on all ranks; the next step begins.

        norms: (S,) of the sums over all parts.
        """
        assert self._sums is not None
        sums = self._sums if self.of_all_ranks else self.accelerator.reduce(self._sums, "sum")
        self._sums = None
        return sums_of_pairs(norms.square(), *sums)
