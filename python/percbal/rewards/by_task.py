"""Rewards from a task's own judge, for tasks with more than one right answer.

A right colouring of a graph is checked, not compared. The judge is any object with a ``score``;
this package knows no tasks, so a user's file joins the two (docs/rewards.md).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from percbal.responses.copied import copies_an_answer, words
from percbal.responses.labels import is_missing
from percbal.rewards.blind import share_right
from percbal.rewards.texts import MOST_ITEMS, completion_text, labels, read_parts

Reward = Callable[..., list[float | None]]
Truth = dict[str, Any] | list[Any] | str | None


class Verdict(Protocol):
    """What a judge says of a completion; None where it cannot tell."""

    answer: bool | None
    perception: bool | None
    perception_f1: float
    reasoning: bool | None


class Judge(Protocol):
    def score(self, completion: str, truth: Any) -> Any:
        """A `Verdict`; no completion may make it raise. A judge whose truths are not dictionaries
        names their types in ``truths``."""
        ...


class TaskRewards(NamedTuple):
    """TRL reward functions that read the column ``truth``, a dictionary or its JSON.

    outcome: the answer is right by the task's constraints.
    perception: p* exactly. perception_f1: the share of its parts that are right; 0 where the
        perception has more than ``MOST_ITEMS`` times the items of p*, if the verdict says how many
        (``named``, as a `percbal.tasks.base.Score` does).
    reasoning: the answer is right for what the completion itself perceived. To be measured, and
        rewarded only beside perception: it pays for perceiving an easy problem.
    blind_reanswer: as `percbal.rewards.blind_reanswer`, the answers judged by the task.

    What a judge cannot tell is 0, since the completion is to blame; a row without a truth is None.
    A perception that contains the answer word for word, where p* (the column ``perception``) does
    not, earns no perception_f1, reasoning or blind_reanswer; the first two unless it is p* exactly.
    """

    outcome: Reward
    perception: Reward
    perception_f1: Reward
    reasoning: Reward
    blind_reanswer: Reward


def from_task(task: Judge) -> TaskRewards:
    """The rewards of one task, e.g. ``from_task(get_task("sudoku", size=9))``."""

    def outcome(completions: Sequence[Any], truth: Sequence[Truth], **_: Any) -> list[float | None]:
        return _each(_judged(task, completions, truth), lambda verdict: verdict.answer is True)

    def perception(
        completions: Sequence[Any], truth: Sequence[Truth], **_: Any
    ) -> list[float | None]:
        return _each(_judged(task, completions, truth), lambda verdict: verdict.perception is True)

    def perception_f1(
        completions: Sequence[Any], truth: Sequence[Truth], **columns: Any
    ) -> list[float | None]:
        verdicts = _judged(task, completions, truth)
        values = _each(verdicts, _paid_share)
        return _without_copies(values, verdicts, completions, columns)

    def reasoning(
        completions: Sequence[Any], truth: Sequence[Truth], **columns: Any
    ) -> list[float | None]:
        verdicts = _judged(task, completions, truth)
        values = _each(verdicts, lambda verdict: verdict.reasoning is True)
        return _without_copies(values, verdicts, completions, columns)

    def blind_reanswer(
        completions: Sequence[Any],
        blind_answers: Sequence[Sequence[str] | None],
        truth: Sequence[Truth],
        **columns: Any,
    ) -> list[float | None]:
        rows = [
            (t, row) for texts, row in zip(blind_answers, truth, strict=True) for t in texts or []
        ]
        right = outcome([text for text, _ in rows], [row for _, row in rows])
        return share_right(completions, blind_answers, right, **columns)

    return TaskRewards(outcome, perception, perception_f1, reasoning, blind_reanswer)


def _judged(
    task: Judge, completions: Sequence[Any], truths: Sequence[Truth]
) -> list[Verdict | None]:
    types = getattr(task, "truths", (dict,))
    return [
        None if is_missing(truth) else task.score(completion_text(text), _truth(truth, row, types))
        for row, (text, truth) in enumerate(zip(completions, truths, strict=True))
    ]


def _each(verdicts: list[Verdict | None], value: Callable[[Verdict], float]) -> list[float | None]:
    return [None if verdict is None else float(value(verdict)) for verdict in verdicts]


def _paid_share(verdict: Verdict) -> float:
    """Of the parts; nothing for naming everything possible."""
    return 0.0 if getattr(verdict, "named", 0.0) > MOST_ITEMS else verdict.perception_f1


def _truth(truth: Truth, row: int, types: tuple[type, ...]) -> Any:
    found: Any = truth
    if isinstance(truth, str):
        try:
            found = json.loads(truth)
        except (ValueError, RecursionError):
            found = None
    if not isinstance(found, types):
        what = "a dictionary" if types == (dict,) else " or ".join(t.__name__ for t in types)
        raise ValueError(f"truth of row {row} must be {what} or its JSON, got {str(truth)[:40]!r}")
    return found


def _without_copies(
    values: list[float | None],
    verdicts: list[Verdict | None],
    completions: Sequence[Any],
    columns: dict[str, Any],
) -> list[float | None]:
    """The values, 0 where the perception contains the completion's or the right answer."""
    n = len(completions)
    rows = zip(
        values,
        verdicts,
        read_parts(completions),
        labels(columns.get("answer"), "answer", n),
        labels(columns.get("perception"), "perception", n),
        strict=True,
    )
    out = []
    for value, verdict, parts, answer, shown in rows:
        exact = verdict is not None and verdict.perception is True
        copied = value and copies_an_answer(
            words(parts.perception or ""), (parts.answer, answer), shown, exact=exact
        )
        out.append(0.0 if copied else value)
    return out
