"""Questions of a data set that anybody made: rows with images, a question and a true perception.

A row is as `percbal.read_dataset` makes it, with the columns that the rewards of GRPO read.
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from datasets import Dataset
from trl.data_utils import prepare_multimodal_messages

from percbal.data.images import COLUMNS as PICTURES
from percbal.data.lines import json_or_text
from percbal.data.rows import PLACE, images_of, row_name
from percbal.evaluate.questions import Messages, Question, difficulty_of, usable_difficulty
from percbal.evaluate.row_judges import judge_of
from percbal.responses.asking import Asking
from percbal.responses.labels import label_text
from percbal.responses.prompt import OPTIONS, content_text
from percbal.responses.thoughts import without_thoughts

log = logging.getLogger(__name__)

Row = Mapping[str, Any]
SKETCH = "..."  # for what a row does not say; nothing of it is shown to a model


def row_questions(
    data: Dataset, n: int, seed: int, asking: Asking, *, skip: bool = False
) -> list[Question]:
    """``n`` rows, drawn by the seed and in their order; all of them if there are no more.

    data: of `read_dataset`; its pictures are opened when a question is asked.
    skip: leave out rows without a true perception or an answer, and say how many in the log.
    Raises ValueError for such a row otherwise, and if none is left.
    """
    for needed in (("perception",), ("answer", "truth")):
        if not {*needed} & {*data.column_names}:
            raise ValueError(_without(needed, data))
    texts = data.remove_columns([name for name in PICTURES if name in data.column_names])
    order: Sequence[int] = range(len(data))
    if n < len(data):
        order = random.Random(seed).sample(order, len(data))  # the first n that are good
    questions: list[Question] = []
    bad: list[str] = []
    for index in order:
        if len(questions) == n:
            break
        row = texts[index]
        try:
            questions.append(_question(data, index, row, asking))
        except ValueError as problem:
            bad.append(f"{row_name(row, f'row {index + 1}')}: {problem}")
            if not skip:
                raise ValueError(bad[0]) from None
    if not questions:
        raise ValueError(f"no row can be diagnosed; the first: {bad[0]}")
    if bad:
        log.warning("%d rows are left out, the first: %s", len(bad), bad[0])
    return sorted(questions, key=lambda question: question.index)


def _without(needed: tuple[str, ...], data: Dataset) -> str:
    what = {"perception": "true perception", "answer": "answer"}[needed[0]]
    names = ", ".join(name for name in data.column_names if name not in (PLACE, *PICTURES[2:]))
    return (
        f"the data set has no {what}: a diagnosis needs the column {' or '.join(needed)}, or the "
        f"paper's ground_truth; as read, its columns are {names}"
    )


def _question(data: Dataset, index: int, row: Row, asking: Asking) -> Question:
    perception = label_text(row.get("perception"), "perception")
    if perception is None:
        raise ValueError("it has no true perception: the column perception is empty")
    judge, truth = judge_of(row)
    target = _own_response(row)
    beginning = None if target is None else _own_beginning(target, asking, judge, truth)
    if target is not None and beginning is not None:
        response = target
    else:
        written = as_written(perception)
        answer = row.get("answer")
        rest = SKETCH, answer if isinstance(answer, str) and answer.strip() else SKETCH
        response = asking.response_format.write(written, *rest)
        beginning = asking.response_format.beginning(written)
    return Question(
        index=index,
        place=row_name(row, f"row {index + 1}"),
        prompt=partial(_prompt, data, index, asking),
        beginning=beginning,
        response=response,
        target=target,
        judge=judge,
        truth=truth,
        query=_query(row),
        perception=as_written(perception),
        difficulty=_difficulty(row, judge, truth),
    )


def asked_of(row: Row) -> tuple[str, str]:
    """The query and the true perception of a row's question, as `Question` has them."""
    return _query(row), as_written(label_text(row.get("perception"), "perception") or "")


def _query(row: Row) -> str:
    """The text of the last message."""
    messages = row.get("prompt") or [{}]
    return content_text(messages[-1].get("content")).strip()


def _difficulty(row: Row, judge: Any, truth: Any) -> dict[str, float | int | str]:
    """Of the column difficulty, a value or several by name, and of level; else by the judge."""
    said = row.get("difficulty")
    columns = {"level": row.get("level")}
    columns |= said if isinstance(said, Mapping) else {"difficulty": said}
    return usable_difficulty(columns) or difficulty_of(None, judge, truth)


def _prompt(data: Dataset, index: int, asking: Asking) -> Messages:
    row = data[index]
    prompt = prepare_multimodal_messages(row["prompt"], images=images_of(row))
    return asking.prompt(prompt, row.get(OPTIONS))


def _own_response(row: Row) -> str | None:
    """Of the row, without thoughts; None where there is none."""
    completion = row.get("completion") or []
    text = content_text(completion[0].get("content")) if len(completion) == 1 else ""
    return without_thoughts(text).strip() or None


def _own_beginning(target: str, asking: Asking, judge: Any, truth: Any) -> str | None:
    """The response up to the end of its perception, if that is right and nothing is before it.

    A model that was trained on such responses is then given the words that it was trained on.
    """
    part = asking.response_format.read(target).parts.get("perception")
    if part is None or target[: part.outer[0]].strip() not in ("", "{"):
        return None
    right = judge.score(asking.read(target), truth).perception is True
    return target[: part.outer[1]] if right else None


def as_written(perception: str) -> str:
    """A true perception as a response has it: the paper's in the words of its prompt.

    81 cells as nine rows, "-" for an empty cell, and of a graph the edges.
    """
    value = json_or_text(perception)
    if isinstance(value, dict) and "edges" in value:
        return json.dumps(value["edges"])
    if isinstance(value, list) and len(value) == 81 and all(type(cell) is int for cell in value):
        rows = [value[start : start + 9] for start in range(0, 81, 9)]
        return json.dumps([[cell or "-" for cell in row] for row in rows])
    return perception
