"""Who judges a row of a data set: constraints where the row has such a truth, else its labels."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from percbal.data.lines import json_or_text
from percbal.evaluate.label_parts import label_table, label_wrong_parts
from percbal.evaluate.paper_rewards import EitherTask
from percbal.responses.labels import is_missing, label_text
from percbal.responses.spans import find_spans
from percbal.rewards import labelled
from percbal.rewards.by_task import Judge
from percbal.tasks import TASKS, get_task
from percbal.tasks.base import Score, Table, WrongPart
from percbal_ops import score_text

Row = Mapping[str, Any]


class LabelJudge:
    """Compares with the columns that `percbal.rewards.outcome` and ``perception`` read.

    A truth is ``{"perception", "answer", "grammar", "answer_grammar"}``, the last two perhaps None.
    """

    def score(self, completion: str, truth: Row) -> Score:
        """Judge a completion. Raises ValueError for a label that is no text of its grammar."""
        spans = find_spans(completion)
        columns = {name: [value] for name, value in truth.items() if value is not None}
        answer = labelled.outcome([completion], **columns)[0]
        perception = labelled.perception([completion], **columns)[0]
        return Score(
            answer=None if spans.answer is None else answer == 1,
            perception=None if spans.perception is None else perception == 1,
            perception_f1=_parts_right(completion, truth),
            reasoning=None,
            parsed=spans.complete,
            reason="; ".join(spans.problems),
        )

    def marked(self, completion: str, truth: Row) -> dict[str, Table]:
        """What was perceived and answered: by parts where both are grids or edges, else whole."""
        spans, found = find_spans(completion), self.score(completion, truth)
        tables = {}
        if spans.perception is not None and truth["perception"] is not None:
            names = spans.perception, truth["perception"], truth["grammar"]
            tables["perceived"] = label_table(*names, found.perception is True)
        if spans.answer is not None:
            grammar = truth["answer_grammar"] or truth["grammar"]
            names = spans.answer, truth["answer"], grammar
            tables["answer"] = label_table(*names, found.answer is True)
        return tables

    def wrong_parts(self, completion: str, truth: Row) -> list[WrongPart]:
        """The cells or edges that were perceived wrong; none where nobody can tell parts."""
        seen, shown = find_spans(completion).perception, truth["perception"]
        if seen is None or shown is None:
            return []
        return label_wrong_parts(seen, shown, truth["grammar"])


def _parts_right(completion: str, truth: Row) -> float:
    """F1 (T4) between what was perceived and p*: the measure, not what a reward pays for it."""
    grammar: Any = truth["grammar"] or labelled.GRAMMAR
    (found,) = score_text([completion], [truth["perception"]], grammar).records()
    return found["f1"] or 0.0


def judge_of(row: Row) -> tuple[Judge, Any]:
    """Who judges the row's completions, and the truth to judge by.

    The task that the column ``task`` names, where it can read ``truth``; else those of the paper,
    where it is a Sudoku, a graph or a chart; else the label ``answer``, or a text as ``truth``.
    Raises ValueError for a row without any of these, and for a label that cannot be read.
    """
    truth = _parsed(row.get("truth"))
    named = row.get("task")
    if isinstance(named, str) and named in TASKS and isinstance(truth, dict):
        try:
            return _tried(get_task(named), truth, f"truth of a row of task {named}")
        except ValueError:
            with suppress(ValueError):  # the column ``ground_truth`` of the same row, perhaps
                return _tried(EitherTask(), truth, "truth")
            raise
    if isinstance(truth, (list, dict)):
        try:
            return _tried(EitherTask(), truth, "truth")
        except ValueError as problem:
            if is_missing(row.get("answer")):
                raise ValueError(f"it has no answer, and of its truth: {problem}") from None
    names = ("perception", "grammar", "answer_grammar")
    labels = {name: None if is_missing(row.get(name)) else row[name] for name in names}
    answer = label_text(row.get("answer"), "answer")
    labels["answer"] = label_text(truth, "truth") if answer is None else answer
    if labels["answer"] is None:
        raise ValueError("it has no answer: the columns answer and truth are empty")
    return _tried(LabelJudge(), labels, "")


def _tried(judge: Judge, truth: Any, what: str) -> tuple[Judge, Any]:
    """Whether the truth is one, before a model is asked."""
    try:
        judge.score("", truth)
    except ValueError as problem:
        said = str(problem).replace("references[0]", "its perception or its answer")
        raise ValueError(said) from None
    except Exception as problem:  # of a dictionary that lacks what the task reads
        raise ValueError(f"{what} cannot be read: {type(problem).__name__}: {problem}") from None
    return judge, truth


def _parsed(truth: Any) -> Any:
    """What the JSON of a list or of an object says; any other truth is itself."""
    if not isinstance(truth, str):
        return truth
    found = json_or_text(truth)
    return found if isinstance(found, (list, dict)) else truth
