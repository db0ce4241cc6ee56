"""What a controller of the balance is shown of a step."""

from __future__ import annotations

import json

import torch
from accelerate import Accelerator
from torch import Tensor

from percbal.objective.balance import Balance, Seen
from percbal.sft.refusals import warn_of_unknown
from percbal_ops import SegmentOutput

LOOKED_AT_STEP = 10  # whether the controller has learnt of all segments


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


class ObservedSteps:
    """The steps that a controller is shown, and what it had learnt by the last one that was taken.

    A controller that learns from none is left alone.
    """

    def __init__(
        self, balance: Balance, names: tuple[str, ...], accelerator: Accelerator, level: str
    ) -> None:
        """names: of the segments. level: that of ``StepSums``."""
        self.balance, self.names, self.accelerator = balance, names, accelerator
        self._sums = StepSums(accelerator, level)
        self._shown = 0  # steps, by this run
        self._learnt = ""  # the controller's state after the last step that was taken, as JSON
        self._unsettled = False  # it has been shown a step since, which may yet not be taken

    def add(self, result: SegmentOutput, step: int, counts: Tensor, *norms: Tensor | None) -> None:
        """A micro-batch; after the last one the controller is shown the step, and its norms."""
        self._sums.add(result)
        if self.accelerator.sync_gradients:
            self._unsettled = True
            self.balance.observe(self._sums.seen(step, counts, *norms))
            self._shown += 1
            if self._shown == LOOKED_AT_STEP:
                warn_of_unknown(self.names, self.balance.unknown(), LOOKED_AT_STEP)

    def settle(self, finite: bool) -> None:
        """A step that is not finite changes nothing, nor what the controller has learnt."""
        self._unsettled = False
        if finite:  # the host has just waited for the gradient's norm, so this costs no wait
            self.remember()
        else:
            self._restore()

    def begin(self, settled: bool) -> None:
        """A loop of training begins. settled: whether steps are settled at all."""
        self._sums.reset()
        if self._unsettled and settled:
            self._restore()
        self._unsettled, self._shown = False, 0

    def remember(self) -> None:
        """The controller's state as that after a step that was taken."""
        if self.balance.observes:
            self._learnt = json.dumps(self.balance.state_dict())

    def _restore(self) -> None:
        if self.balance.observes:
            self.balance.load_state_dict(json.loads(self._learnt))
