"""How a GRPO run goes on from a checkpoint: with the prompts and the period of rollouts it had.

A part of `BalancedGRPOTrainer`. Rollouts are in no checkpoint: one that was written in the middle
of their reuse is gone on from with new rollouts for the rest of it.
"""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

from trl.trainer.utils import RepeatSampler

from percbal.grpo.order import PromptOrder
from percbal.models.resume import STATE

log = logging.getLogger(__name__)


class GoingOn:
    """For a GRPO trainer of TRL, listed before `VLMCheckpoints` and it."""

    args: Any
    num_iterations: int
    _step: int  # micro-batches; TRL's, which decides when to sample anew

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        sampler = super()._get_train_sampler(dataset)  # type: ignore[misc]
        return PromptOrder.like(sampler) if isinstance(sampler, RepeatSampler) else sampler

    # the Trainer's own method; an epoch is a whole number of periods
    def _run_epoch(self, *args: Any, **loop: Any) -> Any:
        if loop["epoch"] == loop["epochs_trained"]:
            self._step = loop["steps_trained_in_current_epoch"]
            self._warn_of_new_rollouts()
        return super()._run_epoch(*args, **loop)  # type: ignore[misc]

    def _warn_of_new_rollouts(self) -> None:
        trainer: Any = self
        period = self.args.steps_per_generation * self.num_iterations
        if self._step % period == 0 or not trainer.is_world_process_zero():
            return
        parts = self.args.gradient_accumulation_steps
        log.warning(
            "step %d is within the reuse of rollouts, which are in no checkpoint: the rest of it "
            "has new rollouts of the same prompts, and is not what an uninterrupted run has there; "
            "checkpoints every %d steps (save_steps) are between two reuses",
            trainer.state.global_step,
            math.lcm(period, parts) // parts,
        )

    def _whole(self, wanted: str | bool) -> str | None:
        found: str | None = super()._whole(wanted)  # type: ignore[misc]
        if found is not None and self.args.sync_ref_model:
            step = json.loads((Path(found) / STATE).read_text())["global_step"]
            refuse_lost_reference(self.args, found, step)
        return found


def refuse_lost_reference(args: Any, checkpoint: str, step: int) -> None:
    """ValueError where the reference model has been synced by that step: it is in no checkpoint."""
    if step >= args.ref_model_sync_steps:
        raise ValueError(
            f"{checkpoint} cannot be gone on from: with sync_ref_model the reference model changed "
            f"at step {step - step % args.ref_model_sync_steps}, and it is in no checkpoint; start "
            "from its weights as a new model instead, which is then the reference"
        )
