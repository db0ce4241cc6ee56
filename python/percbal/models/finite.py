"""Steps whose gradient is not finite: they stop a run, or are skipped, before the weights change.

One NaN or infinite pixel makes every gradient NaN, and one update later every parameter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from accelerate.utils import gather_object
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

ACTIONS = ("stop", "skip")
SHOWN = 3  # rows, and parameters, in a message


class NonFiniteError(RuntimeError):
    """A gradient was not finite; the message has the step, the rows and what was not."""


@dataclass
class NonFiniteArguments:
    """What a trainer does with a gradient that is not finite."""

    HELP_GROUP: ClassVar[str] = "run"

    on_nonfinite: str = field(
        default="stop",
        metadata={
            "help": "stop: end the run, with the weights as they were before the step. skip: go on "
            "with the next batch, and count."
        },
    )
    max_nonfinite_steps: int = field(
        default=10, metadata={"help": "Under skip: so many such steps in a row end the run."}
    )

    def check_nonfinite(self) -> None:
        """ValueError for values that mean nothing."""
        if self.on_nonfinite not in ACTIONS:
            raise ValueError(f"on_nonfinite must be stop or skip, got {self.on_nonfinite!r}")
        if self.max_nonfinite_steps < 1:
            raise ValueError(
                f"max_nonfinite_steps must be at least 1, got {self.max_nonfinite_steps}"
            )


class FiniteSteps:
    """For a Trainer, listed before it: no update with a gradient that is not finite.

    The norm of the whole gradient decides, which is the same on all ranks: one number that is read
    from the device, once in a step.
    """

    _bad_in_a_row = 0
    _bad_steps = 0

    # the Trainer's own loop, which auto_find_batch_size begins again with smaller batches
    def _inner_training_loop(self, *args: Any, **kwargs: Any) -> Any:
        self._forget_step()
        return super()._inner_training_loop(*args, **kwargs)  # type: ignore[misc]

    def _forget_step(self) -> None:
        """A loop of training begins: what a step that was interrupted has left is not its."""
        self.__dict__.pop("_micro_batches", None)
        self._bad_in_a_row = 0

    def _remember(self, inputs: dict[str, Any]) -> None:
        """A micro-batch of the step that is being made."""
        self.__dict__.setdefault("_micro_batches", []).append(inputs)

    def _not_finite_in(self, inputs: dict[str, Any]) -> tuple[str, list[int]] | None:
        """What of a micro-batch is not finite, and in which of its rows, as far as it is known."""
        return bad_inputs(inputs)

    def _settle(self, finite: bool) -> None:
        """A step ends: called in each once it is known whether its gradient is finite."""

    # the Trainer's own hook between clipping and the optimizer's step
    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)  # type: ignore[misc]
        batches = self.__dict__.pop("_micro_batches", [])
        trainer: Any = self
        if norm is None or trainer.is_deepspeed_enabled:  # DeepSpeed steps in its backward
            return norm
        value = float(norm.full_tensor() if isinstance(norm, DTensor) else norm)
        self._settle(math.isfinite(value))
        if math.isfinite(value):
            self._bad_in_a_row = 0
            return norm
        self._bad_in_a_row += 1
        self._bad_steps += 1
        # float16's loss scale is found by overflowing: its scaler skips the step itself
        scaled = trainer.accelerator.scaler is not None
        limit = 1 if trainer.args.on_nonfinite == "stop" and not scaled else None
        if self._bad_in_a_row >= (limit or trainer.args.max_nonfinite_steps):
            said, kept = self._sentence(value, batches), keep_weights(trainer)
            raise NonFiniteError(f"{said}, and in {kept}" if kept else said)
        if not scaled:
            trainer.optimizer.zero_grad(set_to_none=True)  # without gradients no parameter moves
        return norm

    def _sentence(self, norm: float, batches: list[dict[str, Any]]) -> str:
        trainer: Any = self
        found = [
            f"{what} of {_rows(trainer, inputs, rows)} (micro-batch {number})"
            for number, inputs in enumerate(batches)
            if (bad := self._not_finite_in(inputs)) is not None
            for what, rows in [bad]
        ]
        found = gather_object(found)
        if not found:
            found = [f"the gradient of {_bad_parameters(trainer.model)}, the inputs are finite"]
        row = self._bad_in_a_row
        often = f", as those of {row - 1} steps before it were not finite" if row > 1 else ""
        return (
            f"the gradient of step {trainer.state.global_step + 1} is {norm}{often}; not finite: "
            f"{'; '.join(found[:SHOWN])}; the weights are as before it"
        )

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if self._bad_steps:
            logs = {**logs, "nonfinite_steps": float(self._bad_steps)}
        super().log(logs, start_time)  # type: ignore[misc]


def bad_inputs(inputs: dict[str, Any]) -> tuple[str, list[int]] | None:
    """The first tensor that is not finite, and in which rows if it has as many as the batch."""
    rows = next((len(inputs[k]) for k in ("input_ids", "completion_ids") if k in inputs), None)
    for name, values in inputs.items():
        if isinstance(values, Tensor) and values.is_floating_point():
            bad = ~values.isfinite()
            if bool(bad.any()):
                per_row = len(values) == rows
                where = bad.flatten(1).any(1) if values.dim() > 1 else bad
                return name, where.nonzero().flatten().tolist() if per_row else []
    return None


def _rows(trainer: Any, inputs: dict[str, Any], rows: list[int]) -> str:
    """By how their text begins: after shuffling nothing else tells one from another."""
    if not rows:
        return f"one of {len(next(iter(inputs.values())))} rows"
    ids = inputs["input_ids"] if "input_ids" in inputs else inputs["prompt_ids"]
    decode = getattr(trainer.processing_class, "tokenizer", trainer.processing_class).decode
    shown = [" ".join(decode(ids[row], skip_special_tokens=True).split()) for row in rows[:SHOWN]]
    texts = ", ".join(f"{row} ({text[:60]!r})" for row, text in zip(rows, shown, strict=False))
    return f"row{'s' * (len(rows) > 1)} {texts}" + (" .." if len(rows) > SHOWN else "")


def _bad_parameters(model: torch.nn.Module) -> str:
    bad = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and not bool(parameter.grad.isfinite().all())
    ]
    return ", ".join(bad[:SHOWN]) + (f" and {len(bad) - SHOWN} more" if len(bad) > SHOWN else "")


def keep_weights(trainer: Any) -> str | None:
    """Where the checkpoint of the last whole step is, written now if there was none.

    None in evaluation and before the first step.
    """
    if not trainer.model.training or trainer.state.global_step == 0:
        return None
    name = f"{PREFIX_CHECKPOINT_DIR}-{trainer.state.global_step}"
    if trainer._saved_step != trainer.state.global_step:
        trainer._save_checkpoint(trainer.model, trial=None)  # all ranks write it
    return str(Path(trainer._get_output_dir(trial=None)) / name)
