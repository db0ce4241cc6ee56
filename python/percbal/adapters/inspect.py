"""The tasks in Inspect AI: ``inspect eval percbal/sudoku --model openai/gpt-4o -T size=4``.

Inspect loads this module by its entry point, asks its own providers, and shows every sample in its
viewer. Three scorers are a, a_p and a_r of `percbal.evaluate.diagnose`. Providers cannot all
continue a response, so for a_r the true perception stands in the prompt as text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    ContentImage,
    ContentText,
    GenerateConfig,
    get_model,
)
from inspect_ai.scorer import Score, Scorer, Target, accuracy, scorer, stderr
from inspect_ai.solver import Generate, Solver, TaskState, generate, solver

from percbal.evaluate.chat_requests import chat_request, joined, told_in_words
from percbal.evaluate.questions import Question, task_questions
from percbal.responses.asking import Asking
from percbal.responses.formats import make_format
from percbal.tasks import TASKS, get_task

TOLD = "percbal_told"  # in a sample's store: the completion that was told the true perception
ROLES = {"user": ChatMessageUser, "system": ChatMessageSystem, "assistant": ChatMessageAssistant}


def _task(name: str) -> Callable[..., Task]:
    @task(name=name)
    def made(
        n: int = 256,
        split: str = "test",
        seed: int = 0,
        response_format: str = "tags",
        state_format: bool = True,
        **options: Any,
    ) -> Task:
        """n instances of a split; greedy.

        response_format, state_format: as of ``percbal diagnose``, but the prompt states the format
            unless told otherwise: no provider's model was trained on it.
        options: of the task.
        """
        asking = Asking(make_format(response_format), state_format)
        asked = task_questions(get_task(name, **options), n, split, seed, asking)
        judged: dict[str, Any] = {
            "name": name,
            "options": options,
            "response_format": response_format,
        }
        return Task(
            dataset=MemoryDataset([_sample(question) for question in asked], name=name),
            solver=[generate(), told()],
            scorer=[end_to_end(**judged), perception(**judged), reasoning(**judged)],
            config=GenerateConfig(temperature=0),
        )

    return made


def _sample(question: Question) -> Sample:
    return Sample(
        input=[_message(message) for message in chat_request(question)["messages"]],
        target=question.response,
        id=question.index,
        metadata={"truth": question.truth, "beginning": question.beginning},
    )


def _message(message: Mapping[str, Any]) -> ChatMessage:
    content = message["content"]
    if not isinstance(content, str):
        content = [
            ContentImage(image=part["image_url"]["url"])
            if part["type"] == "image_url"
            else ContentText(text=part["text"])
            for part in content
        ]
    return ROLES[message["role"]](content=content)


@solver
def told() -> Solver:
    """A second response, to the same question with the true perception as text."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        words = told_in_words(state.metadata["beginning"])
        *before, last = [m.model_copy() for m in state.input if not isinstance(m, str)]
        parts = [ContentText(text=last.content)] if isinstance(last.content, str) else last.content
        last.content = [*parts, ContentText(text=words)]
        output = await get_model().generate([*before, last])
        state.store.set(TOLD, output.completion)
        return state

    return solve


@scorer(metrics=[accuracy(), stderr()], name="a")
def end_to_end(name: str, options: dict[str, Any], response_format: str) -> Scorer:
    """a: the answer is right."""
    return _scorer("answer", name, options, response_format)


@scorer(metrics=[accuracy(), stderr()], name="a_p")
def perception(name: str, options: dict[str, Any], response_format: str) -> Scorer:
    """a_p: the perceived text is exactly the true one."""
    return _scorer("perception", name, options, response_format)


@scorer(metrics=[accuracy(), stderr()], name="a_r")
def reasoning(name: str, options: dict[str, Any], response_format: str) -> Scorer:
    """a_r: the answer is right where the true perception was told."""
    return _scorer("answer", name, options, response_format, told=True)


def _scorer(
    part: str, name: str, options: dict[str, Any], response_format: str, *, told: bool = False
) -> Scorer:
    judge, asking = get_task(name, **options), Asking(make_format(response_format))

    async def score(state: TaskState, target: Target) -> Score:
        text = state.output.completion
        if told:
            said = state.store.get(TOLD, "")
            text = joined(state.metadata["beginning"], said, asking.response_format)
        found = judge.score(asking.read(text), state.metadata["truth"])
        read = getattr(asking.response_format.read(text), part)
        return Score(
            value=getattr(found, part) is True, answer=read, explanation=f"{found.reason}\n{text}"
        )

    return score


MADE = {name: _task(name) for name in TASKS}
