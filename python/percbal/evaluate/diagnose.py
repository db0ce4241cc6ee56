"""Measure where a vision-language model fails: in seeing or in reasoning.

Three accuracies on the same held-out instances, all by greedy decoding:
a    end to end: the answer from the image is right,
a_p  perception: the perceived text of that same response is exactly right,
a_r  reasoning: the answer is right when the response is made to begin with the true perception.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm
from transformers import PreTrainedModel, ProcessorMixin

from percbal.evaluate.generation import complete
from percbal.evaluate.intervals import Interval, wilson_interval
from percbal.responses.asking import Asking
from percbal.responses.formats import count_reasons

if TYPE_CHECKING:
    from percbal.tasks.base import Instance, Score, Task

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
    truth: dict[str, Any]


@dataclass(frozen=True)
class Diagnosis:
    """The three accuracies with 95% Wilson intervals, and every instance behind them."""

    n: int
    split: str
    seed: int
    a: Interval
    a_p: Interval
    a_r: Interval
    perception_f1: float  # mean
    parse_failures: int  # of the completions from the image
    refusals: dict[str, int]  # why parts of them do not count, such as "perception missing"
    records: list[Record]

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON; intervals as [value, low, high]."""
        return asdict(self)

    def summary(self) -> str:
        """One line for people."""
        parts = [
            f"{name} {value:.3f} [{low:.3f}, {high:.3f}]"
            for name, (value, low, high) in (("a", self.a), ("a_p", self.a_p), ("a_r", self.a_r))
        ]
        why = ", ".join(f"{reason} {count}" for reason, count in self.refusals.items())
        unreadable = f"{self.parse_failures} unreadable" + (f" ({why})" if why else "")
        return f"{'  '.join(parts)}  n = {self.n}, {unreadable}"


def diagnose(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    task: Task,
    *,
    n: int,
    split: str = "test",
    seed: int = 0,
    batch_size: int = 128,
    progress: bool = True,
    asking: Asking | None = None,
    max_new_tokens: int | None = None,
) -> Diagnosis:
    """Measure a, a_p and a_r on instances ``0 .. n - 1`` of a split.

    a and a_p come from one generation from the image, a_r from a second one that is given
    true perception as its beginning. Each may use half as many tokens again as the true response.
    The model is put in evaluation mode and left as it was found.
    progress: show a bar on stderr.
    asking: the format of responses and how prompts are rendered; default as the task writes them.
    max_new_tokens: of a response, in place of that budget: a model that thinks needs more, and
        one that never stops may take less.
    Raises ValueError for n < 1.
    """
    if n < 1 or batch_size < 1:
        raise ValueError(f"n and batch_size must be at least 1, got {n} and {batch_size}")
    if max_new_tokens is not None and max_new_tokens < 1:
        raise ValueError(f"max_new_tokens must be at least 1, got {max_new_tokens}")
    asking = asking or Asking()
    options: Any = {"asking": asking, "most": max_new_tokens}
    was_training = model.training
    model.eval()
    records: list[Record] = []
    bar = tqdm(total=2 * n, desc="diagnose", unit="answer", disable=not progress)
    try:
        for instances in _batches(task, n, split, seed, batch_size):
            completions = complete(model, processor, instances, [""] * len(instances), **options)
            bar.update(len(instances))
            prefixes = [_true_beginning(task, instance, asking) for instance in instances]
            reasoned = complete(model, processor, instances, prefixes, **options)
            bar.update(len(instances))
            for row in zip(instances, completions, reasoned, strict=True):
                records.append(_record(task, asking, *row))
    finally:
        bar.close()
        model.train(was_training)
    records.sort(key=lambda record: record.index)
    return Diagnosis(
        n=n,
        split=split,
        seed=seed,
        a=wilson_interval(sum(r.a for r in records), n),
        a_p=wilson_interval(sum(r.a_p for r in records), n),
        a_r=wilson_interval(sum(r.a_r for r in records), n),
        perception_f1=sum(r.perception_f1 for r in records) / n,
        parse_failures=sum(not r.parsed for r in records),
        refusals=count_reasons(asking.response_format.read(r.completion) for r in records),
        records=records,
    )


def _true_beginning(task: Task, instance: Instance, asking: Asking) -> str:
    if asking.plain:
        return task.oracle_prefix(instance)
    return asking.response_format.beginning(instance.perception)


def _record(
    task: Task, asking: Asking, instance: Instance, completion: str, reasoned: str
) -> Record:
    tagged = asking.response_format.tagged  # behind the thoughts
    seen = task.score(tagged(completion), instance.truth)
    told = task.score(tagged(reasoned), instance.truth)
    return Record(
        index=instance.index,
        completion=completion,
        reasoned=reasoned,
        a=seen.answer is True,
        a_p=seen.perception is True,
        a_r=told.answer is True,
        perception_f1=seen.perception_f1,
        parsed=seen.parsed,
        reason=_reason(seen, asking, completion),
        truth=instance.truth,
    )


def _reason(score: Score, asking: Asking, completion: str) -> str:
    """Why a completion could not be read, in the words of its own format."""
    if asking.plain or score.parsed:
        return score.reason
    reading = asking.response_format.read(completion)
    problems = dict.fromkeys(why.problem for why in reading.refusals.values())
    return "; ".join(problems) or score.reason


def _batches(
    task: Task, n: int, split: str, seed: int, batch_size: int
) -> Iterator[list[Instance]]:
    """All instances, those with responses of similar length together.

    A batch runs until its last row ends, so rows should end at about the same time.
    """
    instances = [task.generate(index, split, seed) for index in range(n)]
    instances.sort(key=lambda instance: len(instance.response))
    for start in range(0, n, batch_size):
        yield instances[start : start + batch_size]
