"""What the Trainer's own training step does beside the loss and its backward pass."""

from __future__ import annotations

from typing import Any, TypeVar

from accelerate.utils.memory import clear_device_cache
from torch import nn
from transformers import Trainer

Passed = TypeVar("Passed")


def begin_step(trainer: Trainer, model: nn.Module, inputs: dict[str, Any]) -> dict[str, Any]:
    """A micro-batch on its device; model and optimizer are set to train."""
    model.train()
    # schedule-free optimizers have a mode, too, which an evaluation has changed
    if callable(train := getattr(trainer.optimizer, "train", None)):
        train()
    return trainer._prepare_inputs(inputs)


def empty_cache(trainer: Trainer, passed: Passed) -> Passed:
    """Behind a forward pass, in the steps of ``torch_empty_cache_steps``; returns the pass."""
    every = trainer.args.torch_empty_cache_steps
    if every is not None and trainer.state.global_step % every == 0:
        clear_device_cache()
    return passed
