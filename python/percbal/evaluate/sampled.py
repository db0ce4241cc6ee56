"""What a policy does on held-out instances: greedily, and as it samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from transformers import PreTrainedModel, ProcessorMixin

from percbal.evaluate.diagnose import Diagnosis, diagnose
from percbal.evaluate.exact import perception_probabilities
from percbal.evaluate.generation import LocalModel
from percbal.evaluate.names import METRICS
from percbal.evaluate.questions import task_questions
from percbal.models.modes import evaluating
from percbal.responses.asking import Asking
from percbal_ops import reward_coupling

if TYPE_CHECKING:
    from percbal.tasks.base import Task

Scores = dict[str, list[list[float]]]


@dataclass(frozen=True)
class Evaluation:
    """Right or wrong, 0 or 1, of every completion to n instances.

    sampled, (n, samples) each: ``a`` and ``a_p`` from the image, ``a_r`` given the true perception,
    ``own`` right for what the completion itself perceived (NaN where that cannot be read).
    """

    diagnosis: Diagnosis  # by greedy decoding
    sampled: Scores
    exact: list[float]  # (n,) probability of the true perception, where it was asked for

    def right(self) -> dict[str, dict[str, str]]:
        """As it is kept: of each instance one digit, how many of its completions were right.

        "greedy", and "sampled" if there are samples, of which there are at most 9: a metric's
        "0212..." of length n.
        """
        records = self.diagnosis.records
        greedy = {name: _digits([[getattr(r, name)] for r in records]) for name in METRICS}
        if not self.sampled["a"][0]:
            return {"greedy": greedy}
        return {
            "greedy": greedy,
            "sampled": {name: _digits(self.sampled[name]) for name in METRICS},
        }


def coupling(sampled: Scores) -> dict[str, float]:
    """Correlation of the outcome with perception and with reasoning over the samples.

    Pooled over all samples, and within the samples of an instance.
    """
    a, p, own = (torch.tensor(sampled[name]) for name in ("a", "a_p", "own"))
    group = torch.arange(len(a)).repeat_interleave(a.shape[1])
    found = reward_coupling(a.flatten(), p.flatten(), own.flatten(), group)
    assert found.reasoning is not None
    return {
        "pooled_perception": float(found.perception.pooled.r),
        "pooled_reasoning": float(found.reasoning.pooled.r),
        "within_perception": float(found.perception.within.r),
        "within_reasoning": float(found.reasoning.within.r),
        "conflict_rate": float(found.signal.conflict_rate),
    }


def evaluate(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    task: Task,
    *,
    n: int,
    samples: int,
    split: str,
    instance_seed: int,
    sample_seed: int = 0,
    batch_size: int = 256,
    exact: bool = False,
) -> Evaluation:
    """Evaluate on instances ``0 .. n - 1`` of a split; the same model gives the same samples.

    exact: also the exact probability of each true perception.
    """
    diagnosis = diagnose(
        model,
        processor,
        task,
        n=n,
        split=split,
        seed=instance_seed,
        batch_size=batch_size,
        progress=False,
    )
    questions = task_questions(task, n, split, instance_seed, Asking())
    repeated = [question for question in questions for _ in range(samples)]
    answers = LocalModel(model, processor, sample=True)
    scores: dict[str, list[float]] = {"a": [], "a_p": [], "own": [], "a_r": []}
    with evaluating(model), torch.random.fork_rng():
        torch.manual_seed(sample_seed)
        for start in range(0, len(repeated), batch_size):
            batch = repeated[start : start + batch_size]
            seen, told = answers(batch, told=False), answers(batch, told=True)
            for question, from_image, from_truth in zip(batch, seen, told, strict=True):
                score = task.score(from_image.text, question.truth)
                scores["a"].append(float(score.answer is True))
                scores["a_p"].append(float(score.perception is True))
                scores["own"].append(np.nan if score.reasoning is None else float(score.reasoning))
                told_score = task.score(from_truth.text, question.truth)
                scores["a_r"].append(float(told_score.answer is True))
    sampled = {k: np.reshape(values, (n, samples)).tolist() for k, values in scores.items()}
    with evaluating(model):
        chances = perception_probabilities(model, processor, questions) if exact else []
    return Evaluation(diagnosis, sampled, chances)


def _digits(rows: list[list[float]]) -> str:
    return "".join(str(int(sum(row))) for row in rows)
