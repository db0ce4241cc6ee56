"""The diagnosis while a model is trained: its accuracies and errors beside the loss."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedModel, ProcessorMixin

from percbal.evaluate.diagnose import Diagnosis, diagnose
from percbal.evaluate.names import EXACT, METRICS
from percbal.evaluate.row_questions import row_questions
from percbal.models.callbacks import LoggingCallback
from percbal.models.output_head import inner_model
from percbal.responses.asking import Asking

if TYPE_CHECKING:
    from percbal.tasks.base import Task


class DiagnosisCallback(LoggingCallback):
    """Every ``every`` steps, and at the end, logs what `diagnose` measures.

    As ``diagnosis/a``, ``diagnosis/a_p``, ``diagnosis/a_r`` and ``diagnosis/a_p_exact``, for which
    an instance takes a forward pass. Of the responses from the image the share of every error, as
    ``diagnosis/errors/right`` and so on, of those that cannot be read, ``diagnosis/unreadable``,
    and of those that ended at the limit of tokens, ``diagnosis/cut``. Always on the same instances.
    A run with it ends with the weights of the run without it. Of several processes the first one
    alone does this, and the others wait in their next step; sharded weights are refused.

    source: a task or a data set, as for `diagnose`.
    asking: how the model is asked; None as the trainer's options say.
    """

    def __init__(
        self,
        source: Task | Dataset,
        processor: ProcessorMixin,
        *,
        every: int,
        n: int = 64,
        split: str = "test",
        seed: int = 0,
        batch_size: int = 32,
        asking: Asking | None = None,
    ) -> None:
        if every < 1 or n < 1 or batch_size < 1:
            raise ValueError(
                f"every, n and batch_size must be at least 1, got {every}, {n} and {batch_size}"
            )
        if isinstance(source, Dataset):
            row_questions(source, n, seed, Asking())  # a bad row is found before the training
        self.source, self.processor, self.every, self.asking = source, processor, every, asking
        self.options: dict[str, Any] = {
            "n": n,
            "split": split,
            "seed": seed,
            "batch_size": batch_size,
        }

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.trainer is None:
            raise ValueError("DiagnosisCallback has no trainer to log to: call attach(trainer)")
        if self.trainer.is_fsdp_enabled or self.trainer.is_deepspeed_enabled:
            raise ValueError(
                "DiagnosisCallback does not support FSDP or DeepSpeed: one process generates alone "
                "and has only a part of the weights; use `percbal diagnose` on a checkpoint"
            )

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        # the last step's is then in the checkpoint of that step, and a resume finds it there
        if state.global_step % self.every == 0 or control.should_training_stop:
            self._measure(state)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._measure(state)

    def _measure(self, state: Any) -> None:
        done = (e["step"] for e in reversed(state.log_history) if f"diagnosis/{METRICS[0]}" in e)
        if state.is_world_process_zero and next(done, None) != state.global_step:
            self.log(figures(self._diagnosis()))

    def _diagnosis(self) -> Diagnosis:
        accelerator = self.trainer.accelerator
        model = inner_model(accelerator, self.trainer.model)
        with undisturbed(model), accelerator.autocast():
            return diagnose(
                model,
                self.processor,
                self.source,
                **self.options,
                progress=False,
                exact=True,
                asking=self.asking or _asking_of(self.trainer.args),
            )


def figures(result: Diagnosis) -> dict[str, float]:
    """What is logged of it."""
    values = {name: result.accuracies[name].interval.value for name in (*METRICS, EXACT)}
    counts = {"unreadable": result.parse_failures, "cut": result.cut["a"]}
    counts |= {f"errors/{error}": count for error, count in result.errors.items()}
    values |= {name: count / result.n for name, count in counts.items()}
    return {f"diagnosis/{name}": value for name, value in values.items()}


def _asking_of(args: Any) -> Asking | None:
    return args.asking(args.chat_template_kwargs) if hasattr(args, "asking") else None


@contextmanager
def undisturbed(model: PreTrainedModel) -> Iterator[None]:
    """Leaves every random state, and the mode of every module, as it was found."""
    modes = [(module, module.training) for module in model.modules()]
    states = random.getstate(), np.random.get_state()
    devices = [model.device] if model.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices), torch.no_grad():
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        for module, training in modes:
            module.training = training
