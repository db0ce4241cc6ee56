"""Files of requests for any engine, and its completions read back as answers.

One request a line, as the batches of OpenAI and of ``vllm run-batch`` take them; their output is
read, and so are plain lines of ``{"index": 3, "completion": ".."}``.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from percbal.data.lines import BadRow, json_object, read_lines
from percbal.evaluate.chat_requests import Told, chat_request, check_body, joined, png
from percbal.evaluate.generation import Completion
from percbal.evaluate.questions import Question
from percbal.responses.asking import Asking
from percbal.responses.prompt import content_text

TOLD_MARK = "-told"  # an id ends so where the true perception was told
ADDRESS = "/v1/chat/completions"


def write_requests(
    path: Path,
    questions: Sequence[Question],
    *,
    model: str,
    told: Told = "prefix",
    most: int | None = None,
    body: Mapping[str, Any] | None = None,
    pictures: Path | None = None,
) -> int:
    """Two requests a question, without and with the true perception; returns how many.

    body: more fields of every request; those that are None are left out.
    pictures: a folder that images are written to, and named in by ``file://``, in place of data
        URLs.
    Raises ValueError for a body that asks for several completions.
    """
    check_body(body or {})
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        for question in questions:
            address = None if pictures is None else _Written(pictures, question.index)
            for how in (None, told):
                fields = chat_request(question, how, most=most, picture=address)
                fields |= {"model": model, **(body or {})}
                line = {
                    "custom_id": _id(question) + (TOLD_MARK if how else ""),
                    "method": "POST",
                    "url": ADDRESS,
                    "body": {name: value for name, value in fields.items() if value is not None},
                }
                file.write(json.dumps(line) + "\n")
    return 2 * len(questions)


class _Written:
    """Writes the images of a question and says where they are. The second time over them."""

    def __init__(self, folder: Path, index: int) -> None:
        self.folder, self.index = folder, index

    def __call__(self, image: Any) -> str:
        content = png(image)
        number = 0
        path = self.folder / f"{self.index}.png"
        while path.exists() and path.read_bytes() != content:
            number += 1
            path = self.folder / f"{self.index}-{number}.png"
        path.write_bytes(content)
        return path.resolve().as_uri()


@dataclass(frozen=True)
class SavedAnswers:
    """Answers that are in a file. tells: it has those to the true perception, too."""

    asking: Asking
    seen: Mapping[int, Completion]
    told: Mapping[int, Completion]
    notes_: tuple[str, ...] = ()

    @property
    def tells(self) -> bool:
        return bool(self.told)

    def __call__(self, questions: Sequence[Question], *, told: bool) -> list[Completion]:
        if not all(question.beginning for question in questions):
            raise ValueError("saved completions have no answers to questions without the image")
        if not told:
            return [self.seen[question.index] for question in questions]
        chosen = self.asking.response_format
        found = [(question, self.told[question.index]) for question in questions]
        return [Completion(joined(q.beginning, text, chosen), cut) for q, (text, cut) in found]

    def notes(self) -> list[str]:
        return list(self.notes_)


def read_answers(path: Path, questions: Sequence[Question], asking: Asking) -> SavedAnswers:
    """The completions of these questions. ValueError, one sentence, where they do not fit.

    Each line names its question by ``index``, ``place``, ``id`` or ``custom_id``, and has a
    ``completion`` (with ``"told": true`` one that was told the true perception), a ``reasoned``
    beside it that was told, or the ``response`` of a batch.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    known = _names(questions)
    found: tuple[dict[int, Completion], dict[int, Completion]] = ({}, {})  # seen, told
    bad: dict[str, list[str]] = {"no such instance": [], "a failed request": [], "a repeat": []}
    for number, content in read_lines(path):
        try:
            name, answers = _line(json_object(content))
        except BadRow as problem:
            raise ValueError(f"{path}:{number}: {problem}") from None
        place, index = f"{path}:{number} ({name})", known.get(name)
        if index is None:
            bad["no such instance"].append(place)
            continue
        if not answers:
            bad["a failed request"].append(place)
        for told, completion in answers.items():
            if index in found[told]:
                bad["a repeat"].append(place)
            found[told][index] = completion
    for what, places in bad.items():
        if places:
            raise ValueError(
                f"{path} has {len(places)} lines of {what}, the first: {places[0]}; --n, --seed, "
                "--split and the task or data set must be those that were asked"
            )
    _check_whole(path, questions, *found)
    told_note = "a_r: of saved completions that were told the true perception"
    none = 'a_r is not measured: it needs lines with "told": true, and there are none'
    return SavedAnswers(asking, *found, (told_note if found[1] else none,))


def _check_whole(
    path: Path,
    questions: Sequence[Question],
    seen: Mapping[int, Completion],
    told: Mapping[int, Completion],
) -> None:
    """All are there; told ones may be lacking, but not some of them."""
    for answers, what in ((seen, "a completion"), (told, 'one with "told": true')):
        missing = [question for question in questions if question.index not in answers]
        if missing and (answers or answers is seen):
            raise ValueError(
                f"{path} lacks {what} of {len(missing)} of {len(questions)} instances, the first: "
                f"{missing[0].place} (index {missing[0].index})"
            )


def _id(question: Question) -> str:
    """Its index and a mark of its perception: an index alone names one in every split."""
    mark = hashlib.sha256(question.beginning.encode()).hexdigest()[:8]
    return f"{question.index}-{mark}"


def _names(questions: Sequence[Question]) -> dict[str | int, int]:
    """What a question may be called -> its index. A place that two have names neither."""
    times = Counter(question.place for question in questions)
    names: dict[str | int, int] = {}
    for question in questions:
        for name in (question.index, str(question.index), _id(question)):
            names[name] = question.index
        if times[question.place] == 1:
            names[question.place] = question.index
    return names


def _line(row: Mapping[str, Any]) -> tuple[str | int, dict[bool, Completion]]:
    """Whose, and told or not -> completion; none of a batch's request that failed."""
    name = next((row[key] for key in ("custom_id", "index", "place", "id") if key in row), None)
    if not isinstance(name, (int, str)) or isinstance(name, bool):
        raise BadRow("it names no instance: index, place, id or custom_id")
    told = row.get("told", False)
    if isinstance(name, str) and name.endswith(TOLD_MARK):
        name, told = name.removesuffix(TOLD_MARK), True
    if not isinstance(told, bool):
        raise BadRow(f"told must be true or false, got {told!r:.40}")
    if "response" in row and "completion" not in row:
        completion = _of_batch(row)
        return name, {} if completion is None else {told: completion}
    texts = {told: row.get("completion")}
    if row.get("reasoned") is not None:
        texts[True] = row["reasoned"]
    if wrong := [text for text in texts.values() if not isinstance(text, str)]:
        raise BadRow(f"a completion must be a text, got {wrong[0]!r:.40}")
    cuts = {told: row.get("cut", False), True: row.get("cut_reasoned", row.get("cut", False))}
    return name, {key: Completion(str(text), cuts[key] is True) for key, text in texts.items()}


def _of_batch(row: Mapping[str, Any]) -> Completion | None:
    """The response of a batch's output; None where the request failed. BadRow for several."""
    response = row["response"] if isinstance(row["response"], Mapping) else {}
    if row.get("error") or response.get("status_code", 200) != 200:
        return None
    try:
        choices = response["body"]["choices"]
        if len(choices) > 1:  # the others would be dropped
            raise BadRow(
                f"its response has {len(choices)} choices; one completion of each instance is read"
            )
        choice = choices[0]
        text = content_text(choice["message"].get("content"))
        return Completion(text, choice.get("finish_reason") == "length")
    except (LookupError, TypeError, AttributeError):
        raise BadRow("its response is no chat completion") from None
