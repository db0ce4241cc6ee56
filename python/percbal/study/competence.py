"""A training that stops at a competence: what is measured on the way, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, ProcessorMixin, TrainerCallback

from percbal.evaluate.diagnose import evaluating
from percbal.evaluate.exact import perception_probabilities
from percbal.evaluate.generation import LocalModel
from percbal.evaluate.questions import Question, task_questions
from percbal.responses.asking import Asking
from percbal.study.json_files import read_json, write_json
from percbal.study.recipes import REACHED, Stop
from percbal.tasks.base import Task

MEASURED = "measured.json"  # of a training with a stop rule: what was measured at its pauses
COMPETENCE_SEED = 40_000  # of pictures that neither trainings nor results use


class Stopped(RuntimeError):
    """A training that goes on from a checkpoint had ended there by its rule."""


class Competence(TrainerCallback):
    """Pauses a training and ends it by its stop rule; ``outcome`` says what came of it.

    The training's own random numbers go on as if it had not paused. What was measured is kept in
    the file ``path``, for a training that is interrupted and goes on.
    """

    def __init__(self, stop: Stop, task: Task, processor: ProcessorMixin, path: Path) -> None:
        self.stop, self.processor, self.path = stop, processor, path
        self.questions = task_questions(task, stop.instances, "train", COMPETENCE_SEED, Asking())
        self.outcome = Outcome("the steps ran out")

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stopped where a training that goes on had already ended by the rule."""
        before = [each for each in read_json(self.path) or [] if each["step"] <= state.global_step]
        self.outcome.measured = before
        if state.global_step and self._ends(state, kwargs["model"]):
            raise Stopped

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._ends(state, kwargs["model"]):
            control.should_training_stop = True

    def _ends(self, state: Any, model: PreTrainedModel) -> bool:
        """Whether the rule ends the training at this step, by what is measured where it pauses."""
        step, measured = state.global_step, self.outcome.measured
        if step % self.stop.every and step < state.max_steps:
            return False
        if not measured or measured[-1]["step"] < step:
            measured.append({"step": step, **self.measure(model)})
            write_json(self.path, measured)
        self.outcome.steps = step
        verdict = self.stop.verdict(measured[-1], step)
        self.outcome.verdict = verdict or self.outcome.verdict
        return verdict is not None

    def measure(self, model: PreTrainedModel) -> dict[str, float]:
        """What the rule asks for."""
        found = {}
        if self.stop.exact_p is not None:
            found["exact_p"] = mean_exact_p(model, self.processor, self.questions)
        with evaluating(model), torch.random.fork_rng():
            torch.manual_seed(0)
            if self.stop.sampled_r is not None:
                answers = LocalModel(model, self.processor, sample=True)
                told = answers(self.questions, told=True)
                found["sampled_r"] = float(
                    np.mean(
                        [
                            question.judge.score(said.text, question.truth).answer is True
                            for question, said in zip(self.questions, told, strict=True)
                        ]
                    )
                )
        return found


def mean_exact_p(
    model: PreTrainedModel, processor: ProcessorMixin, questions: Sequence[Question]
) -> float:
    """Mean probability of the true perception; a training of the model goes on as before."""
    with evaluating(model), torch.random.fork_rng():
        return float(np.mean(perception_probabilities(model, processor, questions)))


@dataclass
class Outcome:
    """Of a training with a stop rule.

    verdict: ``reached``, or why it failed. measured: at every pause, with the step.
    """

    verdict: str
    steps: int = 0
    measured: list[dict[str, float]] = field(default_factory=list)

    @property
    def reached(self) -> bool:
        """Whether anything may be trained from it."""
        return self.verdict == REACHED
