"""What a controller of the balance is shown of a step."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from torch import Tensor

from percbal.objective.balance import Seen
from percbal_ops import SegmentOutput


class StepSums:
    """Sums over the micro-batches of a step, and at its end over ranks."""

    def __init__(self, accelerator: Accelerator, level: str) -> None:
        """level: what the norms of the results are the gradients with respect to."""
        self.accelerator, self.level = accelerator, level
        self._sums: Tensor | None = None  # (2, S): losses, and norms or their squares

    def reset(self) -> None:
        """Forget the micro-batches of a step that was interrupted."""
        self._sums = None

    def add(self, result: SegmentOutput) -> None:
        """A micro-batch's, with the counts of the whole batch."""
        norms = result.segment_grad_norm
        # parts have logits of their own and one head, at which most of their pull adds up
        part = norms.square() if self.level == "logits" else norms
        new = torch.stack((result.segment_loss, part)).detach()
        self._sums = new if self._sums is None else self._sums + new

    def seen(
        self,
        step: int,
        counts: Tensor,
        gradient: Tensor | None = None,
        pairs: Tensor | None = None,
    ) -> Seen:
        """The step, the same on all ranks; the next one begins."""
        assert self._sums is not None
        losses, stand_in = self.accelerator.reduce(self._sums, "sum").unbind()
        self._sums = None
        if self.level == "logits":
            # (M16): tokens of one segment pull at the parameters together, at their logits alone
            stand_in = stand_in.sqrt() * counts.sqrt()
        return Seen(step, counts, losses, stand_in, gradient, self.level, pairs)
