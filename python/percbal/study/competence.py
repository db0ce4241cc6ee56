"""A training that stops at a competence: what is measured on the way, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, ProcessorMixin, TrainerCallback

from percbal.evaluate.diagnose import evaluating
from percbal.evaluate.exact import perception_probabilities
from percbal.evaluate.generation import LocalModel
from percbal.evaluate.questions import task_questions
from percbal.responses.asking import Asking
from percbal.study.recipes import REACHED, Stop
from percbal.tasks.base import Task

COMPETENCE_SEED = 40_000  # of pictures that neither trainings nor results use


class Competence(TrainerCallback):
    """Pauses a training and ends it by its stop rule; ``outcome`` says what came of it.

    The training's own random numbers go on as if it had not paused.
    """

    def __init__(self, stop: Stop, task: Task, processor: ProcessorMixin) -> None:
        self.stop, self.processor = stop, processor
        self.questions = task_questions(task, stop.instances, "train", COMPETENCE_SEED, Asking())
        self.outcome = Outcome("the steps ran out")

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step % self.stop.every and state.global_step < state.max_steps:
            return
        figures = self.measure(kwargs["model"])
        self.outcome.steps = state.global_step
        self.outcome.measured.append({"step": state.global_step, **figures})
        verdict = self.stop.verdict(figures, state.global_step)
        if verdict is not None:
            self.outcome.verdict = verdict
            control.should_training_stop = True

    def measure(self, model: PreTrainedModel) -> dict[str, float]:
        """What the rule asks for."""
        found = {}
        with evaluating(model), torch.random.fork_rng():
            torch.manual_seed(0)
            if self.stop.exact_p is not None:
                chances = perception_probabilities(model, self.processor, self.questions)
                found["exact_p"] = float(np.mean(chances))
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
