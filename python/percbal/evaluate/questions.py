"""What a diagnosis asks: questions with a true perception and a judge, from a task or a data set.

Who answers them is another matter: `percbal.evaluate.generation` lets a model do so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from percbal.responses.asking import Asking

if TYPE_CHECKING:
    from PIL.Image import Image

    from percbal.rewards.by_task import Judge
    from percbal.tasks.base import Instance, Task

Messages = list[dict[str, Any]]

IMAGE, TOLD, TEXT = "image", "told", "text"  # ways of asking a question
WAYS = (IMAGE, TOLD, TEXT)
MOST_NEW_TOKENS = 1024  # where no true response says how long one may be
SHOWN = "The image is not given. This is what it shows:\n{}\n\n"  # the true perception


@dataclass(frozen=True)
class Question:
    """One instance, of whatever source, in the format that a model is asked in.

    index, place: its number in the source, and what to call it, such as ``train.jsonl:3``.
    prompt: makes the messages, with their pictures, which are not opened before.
    beginning: a response up to and with the end of the true perception, to measure a_r from.
    response: one that has this beginning; what follows may be a mere sketch.
    target: a whole right response, which says how long one may be; None where nobody wrote one.
    judge, truth: who scores a completion, and what it reads.
    query: the user's words, for people to read.
    perception: the true one, as a text.
    difficulty: what makes the instance hard, by name; a number or a word each.
    picture: path of its picture, where there is one.
    sample: which of several completions of the question is asked for.
    """

    index: int
    place: str
    prompt: Callable[[], Messages]
    beginning: str
    response: str
    target: str | None
    judge: Judge
    truth: Any
    query: str = ""
    perception: str = ""
    difficulty: Mapping[str, float | int | str] = field(default_factory=dict)
    picture: str = ""
    sample: int = 0


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
        query=instance.query,
        perception=instance.perception,
        difficulty=difficulty_of(getattr(instance, "difficulty", None), task, instance.truth),
    )


def difficulty_of(said: Any, judge: Any, truth: Any) -> dict[str, float | int | str]:
    """What the instance says, else what its judge says of the truth; {} where neither does."""
    if said is None and callable(by_judge := getattr(judge, "difficulty", None)):
        said = by_judge(truth)
    return usable_difficulty(said)


def usable_difficulty(said: Any) -> dict[str, float | int | str]:
    """The numbers and words of a dictionary; {} for what is none."""
    found = {}
    for name, value in said.items() if isinstance(said, Mapping) else ():
        word = isinstance(value, str) and value.strip()
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if word or number and math.isfinite(value):
            found[str(name)] = value
    return found


def asked_in_text(question: Question) -> Question:
    """The same without its pictures: the true perception stands in the place of the first one."""

    def prompt() -> Messages:
        return _in_text(question.prompt(), SHOWN.format(question.perception))

    return replace(question, prompt=prompt, beginning="")


def _in_text(messages: Messages, said: str) -> Messages:
    """Messages of texts. ``said`` goes to the front of the last message without a picture."""
    pictures = [i for i, message in enumerate(messages) if _has_picture(message["content"])]
    at = pictures[0] if pictures else len(messages) - 1
    out = []
    for i, message in enumerate(messages):
        content = message["content"]
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        texts = [part.get("text", "") for part in content]
        if i == at:
            shown = [j for j, part in enumerate(content) if part["type"] == "image"]
            where = shown[0] if shown else 0
            before = "".join(texts[:where])
            texts = [before + "\n" * bool(before), said, *texts[where:]]
        out.append({**message, "content": [{"type": "text", "text": "".join(texts)}]})
    return out


def _has_picture(content: Any) -> bool:
    return isinstance(content, list) and any(part["type"] == "image" for part in content)


def picture_prompt(image: Image, query: str) -> Messages:
    """One question about one picture; in parts, which some templates insist on."""
    parts = [{"type": "image", "image": image}, {"type": "text", "text": query}]
    return [{"role": "user", "content": parts}]
