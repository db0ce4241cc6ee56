"""Measure where a vision-language model fails: in seeing or in reasoning.

Accuracies on the same held-out instances, by greedy decoding or over samples:
a         end to end: the answer from the image is right,
a_p       perception: the perceived text of that same response is exactly right,
a_r       reasoning: it is right when the response is made to begin with the true perception,
a_r_text  the same without the image: the true perception stands in the prompt, as text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from datasets import Dataset
from tqdm.auto import tqdm
from transformers import PreTrainedModel, ProcessorMixin

from percbal.evaluate.answer_file import AnswerFile
from percbal.evaluate.diagnosis import Diagnosis
from percbal.evaluate.exact import perception_probabilities
from percbal.evaluate.generation import Completion, LocalModel
from percbal.evaluate.names import EXACT
from percbal.evaluate.questions import (
    IMAGE,
    TEXT,
    TOLD,
    WAYS,
    Question,
    asked_in_text,
    task_questions,
)
from percbal.evaluate.records import record_of
from percbal.evaluate.row_questions import row_questions
from percbal.evaluate.sampling import Sampling
from percbal.models.modes import evaluating as evaluating  # also imported from here
from percbal.responses.asking import Asking
from percbal.responses.formats import count_reasons

if TYPE_CHECKING:
    from percbal.tasks.base import Task


class Answers(Protocol):
    """Whoever answers questions, such as `LocalModel`.

    It may have ``alone = True``: an answer does not depend on the questions beside it, so that kept
    ones are used one by one; and ``recall(questions, completions)``, which is given kept told ones.
    """

    def __call__(self, questions: Sequence[Question], *, told: bool) -> list[Completion]:
        """A completion of each, in order.

        told: of a response that begins with the true perception. A question in text is a question
        like any other, without pictures. Where completions are sampled, a question comes once for
        each `Question.sample`.
        """
        ...


def diagnose(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    source: Task | Dataset | list[Question],
    *,
    n: int,
    split: str = "test",
    seed: int = 0,
    batch_size: int = 128,
    progress: bool = True,
    asking: Asking | None = None,
    max_new_tokens: int | None = None,
    on_bad_row: str = "stop",
    ways: Sequence[str] = (IMAGE, TOLD),
    sampling: Sampling | None = None,
    exact: bool = False,
    about: Mapping[str, Any] | None = None,
    kept: AnswerFile | None = None,
) -> Diagnosis:
    """Measure a, a_p and a_r on ``n`` instances of a task's split or of a data set.

    a and a_p come from one generation from the image, a_r from a second one that is given
    true perception as its beginning. Each may use half as many tokens again as the true response,
    1024 where a row has none. The model is put in evaluation mode and left as it was found.
    source: a task, whose instances ``0 .. n - 1`` are asked, or a data set of `read_dataset`
        (docs/diagnose.md), of which the seed draws ``n`` rows; or what `questions_of` made of one.
    progress: show a bar on stderr.
    asking: the format of responses and how prompts are rendered; default as the task writes them.
    max_new_tokens: of a response, in place of that budget; a model that thinks needs more.
    on_bad_row: "skip" leaves out rows of a data set that lack a true perception or an answer.
    ways: how every instance is asked; with "text" also from the true perception as text.
    sampling: several completions of each instance, reproducible by the seed; default one greedy.
    exact: compute the probability of each true perception, too (a_p_exact).
    about: the fields ``source``, ``model`` and ``options`` of the result.
    kept: where answers are kept as they come, and taken from.
    Raises ValueError for n < 1 and for such a row.
    """
    if min(n, batch_size) < 1:
        raise ValueError(f"n and batch_size must be at least 1, got {n} and {batch_size}")
    if max_new_tokens is not None and max_new_tokens < 1:
        raise ValueError(f"max_new_tokens must be at least 1, got {max_new_tokens}")
    asking = asking or Asking()
    questions = questions_of(source, n, split, seed, asking, skip=on_bad_row == "skip")
    drawn = sampling or Sampling()
    answers = LocalModel(
        model,
        processor,
        sample=not drawn.greedy,
        most=max_new_tokens,
        temperature=drawn.degree or 1.0,
        top_p=drawn.top_p,
        seed=seed,
    )
    options: Any = {"batch_size": batch_size, "progress": progress, "ways": ways}
    options |= {"samples": drawn.samples, "about": about, "kept": kept}
    with evaluating(model):
        if exact:
            options["exact"] = _exact(model, processor, questions, progress, kept)
        return measure(questions, answers, asking, split=split, seed=seed, **options)


def _exact(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    questions: Sequence[Question],
    progress: bool,
    kept: AnswerFile | None,
) -> dict[int, float]:
    """Index -> probability of the true perception, kept one by one as answers are."""

    def computed(questions: Sequence[Question], *, told: bool) -> list[Completion]:
        found = perception_probabilities(model, processor, questions)
        return [Completion(repr(probability), False) for probability in found]

    found = {}
    for question in tqdm(questions, desc="exact", unit="instance", disable=not progress):
        (said,) = _answered([question], EXACT, computed, kept)
        found[question.index] = float(said.text)
    return found


def questions_of(
    source: Task | Dataset | list[Question],
    n: int,
    split: str,
    seed: int,
    asking: Asking,
    *,
    skip: bool = False,
) -> list[Question]:
    """The questions of a source. Raises ValueError for a row that cannot be one."""
    if isinstance(source, list):
        return source
    if isinstance(source, Dataset):
        return row_questions(source, n, seed, asking, skip=skip)
    return task_questions(source, n, split, seed, asking)


def measure(
    questions: Sequence[Question],
    answers: Answers,
    asking: Asking,
    *,
    split: str,
    seed: int,
    batch_size: int,
    progress: bool,
    ways: Sequence[str] = (IMAGE, TOLD),
    samples: int = 1,
    exact: Mapping[int, float] | None = None,
    about: Mapping[str, Any] | None = None,
    kept: AnswerFile | None = None,
) -> Diagnosis:
    """The diagnosis of whoever answers.

    asking: the format in which answers are read.
    ways: of `percbal.evaluate.questions.WAYS`, the image's among them.
    samples: completions of each question and way, which `Question.sample` tells apart.
    exact: index of a question -> probability of its true perception.
    about: the fields ``source``, ``model`` and ``options`` of the result.
    kept: where answers are kept as they come. A batch is asked again unless it is there whole, or
        the answers do not depend on the batch (``answers.alone``).
    """
    if IMAGE not in ways or not set(ways) <= {*WAYS}:
        raise ValueError(f"ways must be of {', '.join(WAYS)}, with {IMAGE}, got {', '.join(ways)}")
    found: list[list[dict[str, Completion]]] = [[{} for _ in range(samples)] for _ in questions]
    place = {question.index: at for at, question in enumerate(questions)}
    total = len(ways) * samples * len(questions)
    with tqdm(total=total, desc="diagnose", unit="answer", disable=not progress) as bar:
        for batch in _batches(questions, batch_size, samples):
            for way in ways:
                said = _answered(batch, way, answers, kept)
                for question, completion in zip(batch, said, strict=True):
                    found[place[question.index]][question.sample][way] = completion
                bar.update(len(batch))
    records = [
        record_of(asking, question, each, (exact or {}).get(question.index))
        for question, each in zip(questions, found, strict=True)
    ]
    return Diagnosis(
        n=len(questions),
        split=split,
        seed=seed,
        ways=tuple(ways),
        samples=samples,
        refusals=count_reasons(
            asking.response_format.read(trial.completion)
            for record in records
            for trial in record.trials
        ),
        records=sorted(records, key=lambda record: record.index),
        **(about or {}),
    )


def _answered(
    batch: Sequence[Question], way: str, answers: Answers, kept: AnswerFile | None
) -> Sequence[Completion]:
    """Of every question of the batch; those that are kept where the answers do not depend on the
    batch, else if all are."""
    known: list[Completion | None] = [None] * len(batch)
    if kept is not None:
        known = kept.of(batch, way, alone=getattr(answers, "alone", False))
    had = [(q, said) for q, said in zip(batch, known, strict=True) if said is not None]
    if had and way == TOLD and (recall := getattr(answers, "recall", None)) is not None:
        recall(*zip(*had, strict=True))
    missing = [q for q, said in zip(batch, known, strict=True) if said is None]
    if not missing:
        return [said for _, said in had]
    asked = [asked_in_text(question) for question in missing] if way == TEXT else missing
    new = answers(asked, told=way == TOLD)
    if kept is not None:
        kept.add(missing, way, new)
    rest = iter(new)
    return [next(rest) if said is None else said for said in known]


def _batches(
    questions: Sequence[Question], batch_size: int, samples: int
) -> Iterator[list[Question]]:
    """All of them, each as often as it is sampled, those with responses of similar length together.

    A batch runs until its last row ends, so rows should end at about the same time.
    """
    ordered = sorted(questions, key=lambda question: len(question.target or question.response))
    each = [replace(q, sample=k) for q in ordered for k in range(samples)]
    for start in range(0, len(each), batch_size):
        yield each[start : start + batch_size]
