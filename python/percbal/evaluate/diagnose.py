"""Measure where a vision-language model fails: in seeing or in reasoning.

Three accuracies on the same held-out instances, all by greedy decoding:
a    end to end: the answer from the image is right,
a_p  perception: the perceived text of that same response is exactly right,
a_r  reasoning: the answer is right when the response is made to begin with the true perception.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from datasets import Dataset
from tqdm.auto import tqdm
from transformers import PreTrainedModel, ProcessorMixin

from percbal.evaluate.generation import Completion, LocalModel
from percbal.evaluate.intervals import Interval, wilson_interval
from percbal.evaluate.questions import Question, task_questions
from percbal.evaluate.row_questions import row_questions
from percbal.responses.asking import Asking
from percbal.responses.formats import count_reasons

if TYPE_CHECKING:
    from percbal.tasks.base import Score, Task

METRICS = ("a", "a_p", "a_r")


@dataclass(frozen=True)
class Record:
    """One instance: the two completions and how each of them scored."""

    index: int
    completion: str  # from the image
    reasoned: str  # from the image and the true perception, which it begins with
    a: bool
    a_p: bool
    a_r: bool
    perception_f1: float
    parsed: bool
    reason: str  # why the first completion could not be read, if so
    truth: Any  # what the judge read
    place: str  # of the instance in its source
    cut: bool  # the first completion ended at the limit of tokens, not by itself
    cut_reasoned: bool  # so did the second


@dataclass(frozen=True)
class Diagnosis:
    """The three accuracies with 95% Wilson intervals, and every instance behind them."""

    n: int
    split: str  # of the task, or what was asked of the data set
    seed: int
    a: Interval
    a_p: Interval
    a_r: Interval
    perception_f1: float  # mean
    parse_failures: int  # of the completions from the image
    refusals: dict[str, int]  # why parts of them do not count, such as "perception missing"
    cut: dict[str, int]  # completions behind each accuracy that ended at the limit of tokens
    records: list[Record]

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON; intervals as [value, low, high]."""
        return asdict(self)

    def summary(self) -> str:
        """One line for people, and a second one where completions were cut."""
        parts = [
            f"{name} {value:.3f} [{low:.3f}, {high:.3f}]"
            for name, (value, low, high) in (("a", self.a), ("a_p", self.a_p), ("a_r", self.a_r))
            if value == value  # what was not asked is NaN
        ]
        why = ", ".join(f"{reason} {count}" for reason, count in self.refusals.items())
        unreadable = f"{self.parse_failures} unreadable" + (f" ({why})" if why else "")
        line = f"{'  '.join(parts)}  n = {self.n}, {unreadable}"
        if not any(self.cut.values()):
            return line
        cut = ", ".join(f"{name} {count} of {self.n}" for name, count in self.cut.items())
        return f"{line}\ncut at the limit of tokens: {cut}; --max-new-tokens sets a larger one"


class Answers(Protocol):
    """Whoever answers questions, such as `LocalModel`."""

    def __call__(self, questions: Sequence[Question], *, told: bool) -> list[Completion]:
        """A completion of each. told: of a response that begins with the true perception."""
        ...


def diagnose(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    source: Task | Dataset,
    *,
    n: int,
    split: str = "test",
    seed: int = 0,
    batch_size: int = 128,
    progress: bool = True,
    asking: Asking | None = None,
    max_new_tokens: int | None = None,
    on_bad_row: str = "stop",
) -> Diagnosis:
    """Measure a, a_p and a_r on ``n`` instances of a task's split or of a data set.

    a and a_p come from one generation from the image, a_r from a second one that is given
    true perception as its beginning. Each may use half as many tokens again as the true response,
    1024 where a row has none. The model is put in evaluation mode and left as it was found.
    source: a task, whose instances ``0 .. n - 1`` are asked, or a data set of `read_dataset`, of
        which ``n`` rows are drawn by the seed; docs/diagnose.md has the columns that it needs.
    progress: show a bar on stderr.
    asking: the format of responses and how prompts are rendered; default as the task writes them.
    max_new_tokens: of a response, in place of that budget: a model that thinks needs more, and
        one that never stops may take less.
    on_bad_row: "skip" leaves out rows of a data set that lack a true perception or an answer.
    Raises ValueError for n < 1 and for such a row.
    """
    if n < 1 or batch_size < 1:
        raise ValueError(f"n and batch_size must be at least 1, got {n} and {batch_size}")
    if max_new_tokens is not None and max_new_tokens < 1:
        raise ValueError(f"max_new_tokens must be at least 1, got {max_new_tokens}")
    asking = asking or Asking()
    questions = questions_of(source, n, split, seed, asking, skip=on_bad_row == "skip")
    answers = LocalModel(model, processor, most=max_new_tokens)
    options: Any = {"batch_size": batch_size, "progress": progress}
    with evaluating(model):
        return measure(questions, answers, asking, split=split, seed=seed, **options)


def questions_of(
    source: Task | Dataset, n: int, split: str, seed: int, asking: Asking, *, skip: bool = False
) -> list[Question]:
    """The questions of either source. Raises ValueError for a row that cannot be one."""
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
    ways: Sequence[str] = ("image", "told"),
) -> Diagnosis:
    """The diagnosis of whoever answers. asking: the format in which answers are read.

    ways: without "told" a_r is not measured, and its interval is of NaN.
    """
    n = len(questions)
    tells = "told" in ways
    records: list[Record] = []
    with tqdm(total=2 * n, desc="diagnose", unit="answer", disable=not progress) as bar:
        for batch in _batches(questions, batch_size):
            seen = answers(batch, told=False)
            bar.update(len(batch))
            told = answers(batch, told=True) if tells else [Completion("", False)] * len(batch)
            bar.update(len(batch))
            records += map(_record, [asking] * len(batch), batch, seen, told)
    records.sort(key=lambda record: record.index)
    cut, cut_reasoned = sum(r.cut for r in records), sum(r.cut_reasoned for r in records)
    return Diagnosis(
        n=n,
        split=split,
        seed=seed,
        a=wilson_interval(sum(r.a for r in records), n),
        a_p=wilson_interval(sum(r.a_p for r in records), n),
        a_r=wilson_interval(sum(r.a_r for r in records), n) if tells else Interval(*[math.nan] * 3),
        perception_f1=sum(r.perception_f1 for r in records) / n,
        parse_failures=sum(not r.parsed for r in records),
        refusals=count_reasons(asking.response_format.read(r.completion) for r in records),
        cut={"a": cut, "a_p": cut, "a_r": cut_reasoned},
        records=records,
    )


@contextmanager
def evaluating(model: PreTrainedModel) -> Iterator[None]:
    """Meanwhile the model is in evaluation mode."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def _record(asking: Asking, question: Question, seen: Completion, told: Completion) -> Record:
    tagged = asking.response_format.tagged  # behind the thoughts
    first = question.judge.score(tagged(seen.text), question.truth)
    second = question.judge.score(tagged(told.text), question.truth)
    return Record(
        index=question.index,
        completion=seen.text,
        reasoned=told.text,
        a=first.answer is True,
        a_p=first.perception is True,
        a_r=second.answer is True,
        perception_f1=first.perception_f1,
        parsed=first.parsed,
        reason=_reason(first, asking, seen.text),
        truth=question.truth,
        place=question.place,
        cut=seen.cut,
        cut_reasoned=told.cut,
    )


def _reason(score: Score, asking: Asking, completion: str) -> str:
    """Why a completion could not be read, in the words of its own format."""
    if asking.plain or score.parsed:
        return score.reason
    reading = asking.response_format.read(completion)
    problems = dict.fromkeys(why.problem for why in reading.refusals.values())
    return "; ".join(problems) or score.reason


def _batches(questions: Sequence[Question], batch_size: int) -> Iterator[list[Question]]:
    """All of them, those with responses of similar length together.

    A batch runs until its last row ends, so rows should end at about the same time.
    """
    ordered = sorted(questions, key=lambda question: len(question.target or question.response))
    for start in range(0, len(ordered), batch_size):
        yield ordered[start : start + batch_size]
