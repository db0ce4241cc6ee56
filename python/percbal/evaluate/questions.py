"""What a diagnosis asks: questions with a true perception and a judge, from a task or a data set.

Who answers them is another matter: `percbal.evaluate.generation` lets a model do so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from percbal.responses.asking import Asking

if TYPE_CHECKING:
    from PIL.Image import Image

    from percbal.rewards.by_task import Judge
    from percbal.tasks.base import Instance, Task

Messages = list[dict[str, Any]]


@dataclass(frozen=True)
class Question:
    """One instance, of whatever source, in the format that a model is asked in.

    index, place: its number in the source, and what to call it, such as ``train.jsonl:3``.
    prompt: makes the messages, with their pictures, which are not opened before.
    beginning: a response up to and with the end of the true perception, to measure a_r from.
    response: one that has this beginning; what follows may be a mere sketch.
    target: a whole right response, which says how long one may be; None where nobody wrote one.
    judge, truth: who scores a completion, and what it reads.
    """

    index: int
    place: str
    prompt: Callable[[], Messages]
    beginning: str
    response: str
    target: str | None
    judge: Judge
    truth: Any


def task_questions(task: Task, n: int, split: str, seed: int, asking: Asking) -> list[Question]:
    """Instances ``0 .. n - 1`` of a split."""
    instances = (task.generate(index, split, seed) for index in range(n))
    return [task_question(task, instance, asking) for instance in instances]


def task_question(task: Task, instance: Instance, asking: Asking) -> Question:
    if asking.plain:
        response, beginning = instance.response, task.oracle_prefix(instance)
    else:
        parts = instance.perception, instance.reasoning, instance.answer
        response = asking.response_format.write(*parts)
        beginning = asking.response_format.beginning(instance.perception)
    return Question(
        index=instance.index,
        place=f"{instance.task} {instance.index}",
        prompt=lambda: asking.prompt(picture_prompt(instance.image, instance.query)),
        beginning=beginning,
        response=response,
        target=response,
        judge=task,
        truth=instance.truth,
    )


def picture_prompt(image: Image, query: str) -> Messages:
    """One question about one picture; in parts, which some templates insist on."""
    parts = [{"type": "image", "image": image}, {"type": "text", "text": query}]
    return [{"role": "user", "content": parts}]
