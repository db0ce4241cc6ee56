"""What a reinforcement has learnt on its way, where the end alone would say too little."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, ProcessorMixin, TrainerCallback

from percbal.evaluate.questions import Question
from percbal.study.competence import mean_exact_p
from percbal.study.json_files import read_json, write_json

WATCHED = "watched.json"  # of a training: update -> exact a_p after it


class Watch(TrainerCallback):
    """Measures exact a_p after some updates; the training goes on as if it had not.

    questions: pictures that it is measured on. path: a file that keeps what was measured, for a
    training that is interrupted and goes on.
    """

    def __init__(
        self,
        updates: Sequence[int],
        questions: Sequence[Question],
        processor: ProcessorMixin,
        path: Path,
    ) -> None:
        self.updates, self.questions = updates, questions
        self.processor, self.path = processor, path

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """What was measured behind the checkpoint that a training goes on from comes again."""
        before = {n: value for n, value in self.found().items() if int(n) <= state.global_step}
        if before != self.found():
            write_json(self.path, before)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        model: PreTrainedModel = kwargs["model"]
        if state.global_step in self.updates:
            now = mean_exact_p(model, self.processor, self.questions)
            write_json(self.path, self.found() | {str(state.global_step): now})

    def found(self) -> dict[str, float]:
        """By the number of the update."""
        return read_json(self.path) or {}
