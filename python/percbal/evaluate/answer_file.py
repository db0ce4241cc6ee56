"""Answers of a diagnosis, kept as they come: an interrupted one goes on where it stopped.

A file of lines of JSON. The first, the header, says whose answers these are; every other one is
``{"index", "sample", "way", "of", "text", "cut"}``, ``of`` a digest of what was asked. A way
``a_p_exact`` has the probability of the true perception as its text.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from percbal.evaluate.generation import Completion
from percbal.evaluate.questions import Question

Key = tuple[int, int, str]  # index, sample, way of asking
HEADER = "answers of"


class AnswerFile:
    """Answers at ``path`` to whoever the header describes.

    header: everything that answers depend on, such as the model; values as JSON has them.
    Raises ValueError where the file has another header or is no such file; a last line that is
    not whole is dropped.
    """

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self.path = path
        self.reused = 0  # answers that were there
        self._known: dict[Key, tuple[str, Completion]] = {}
        self._digests: dict[int, str] = {}  # by a question's index
        wanted = json.loads(json.dumps(header))
        first = json.dumps({HEADER: wanted}) + "\n"
        whole = self._read(wanted, first.encode())
        if path.is_file() and whole < path.stat().st_size:
            os.truncate(path, whole)
        self._first = "" if whole else first  # written with the first answers

    def of(
        self, questions: Sequence[Question], way: str, *, alone: bool = False
    ) -> list[Completion | None]:
        """What is kept of each; unless ``alone``, of all or of none. ValueError for one that has
        changed."""
        found = [self._one(question, way) for question in questions]
        if not alone and None in found:
            found = [None] * len(found)
        self.reused += sum(each is not None for each in found)
        return found

    def _one(self, question: Question, way: str) -> Completion | None:
        digest, completion = self._known.get(_key(question, way), ("", None))
        if completion is not None and digest != self._digest(question):
            raise ValueError(
                f"{self.path} has an answer to {question.place} as it was asked then, and it "
                "has changed; remove the file to begin anew"
            )
        return completion

    def _digest(self, question: Question) -> str:
        """Of all that is asked, pictures included."""
        if question.index not in self._digests:
            self._digests[question.index] = _digest(question)
        return self._digests[question.index]

    def add(self, questions: Sequence[Question], way: str, said: Sequence[Completion]) -> None:
        """Write answers, and leave them to the system before returning. OSError of a full disk."""
        lines = [self._first]
        for question, completion in zip(questions, said, strict=True):
            index, sample, _ = key = _key(question, way)
            digest = self._digest(question)
            self._known[key] = digest, completion
            line = {"index": index, "sample": sample, "way": way, "of": digest}
            lines.append(json.dumps(line | completion._asdict()) + "\n")
        self._write("".join(lines))
        self._first = ""

    def remove(self) -> None:
        """Once the result is written, which has all answers."""
        self.path.unlink(missing_ok=True)

    def _write(self, text: str) -> None:
        """At the end. What was there is all that stays if that fails."""
        size = self.path.stat().st_size if self.path.is_file() else 0
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as problem:
            if self.path.is_file():
                os.truncate(self.path, size)
            raise OSError(
                f"{self.path}: {problem.strerror}; the answers before are kept, and the same "
                "command goes on"
            ) from None

    def _read(self, wanted: Any, first: bytes) -> int:
        """How many bytes of the file are whole lines, 0 if it has none."""
        if not self.path.is_file():
            return 0
        whole = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n") and (number > 1 or first.startswith(line)):
                    break  # the last one
                self._take(line, number, wanted)
                whole += len(line)
        return whole

    def _take(self, line: bytes, number: int, wanted: Any) -> None:
        try:
            read = json.loads(line)
            if number > 1:
                key = int(read["index"]), int(read["sample"]), str(read["way"])
                completion = Completion(str(read["text"]), bool(read["cut"]))
                self._known[key] = str(read["of"]), completion
                return
            header = read[HEADER]
        except (ValueError, KeyError, TypeError):
            raise ValueError(
                f"line {number} of {self.path} is no answer of a diagnosis; remove the file to "
                "begin anew"
            ) from None
        if header != wanted:
            raise ValueError(
                f"{self.path} has answers of another diagnosis ({_differences(header, wanted)}); "
                "remove it, or give another --out"
            )


def _differences(there: Any, wanted: Any) -> str:
    there = there if isinstance(there, dict) else {}
    names = [name for name in {**wanted, **there} if there.get(name) != wanted.get(name)]
    return "; ".join(f"{name} {there.get(name)}, not {wanted.get(name)}" for name in names)


def _key(question: Question, way: str) -> Key:
    return question.index, question.sample, way


def _digest(question: Question) -> str:
    found = hashlib.sha256(json.dumps([question.place, question.perception]).encode())
    for message in question.prompt():
        content = message["content"]
        for part in content if isinstance(content, list) else [{"type": "text", "text": content}]:
            said = part.get("text", "")
            found.update(json.dumps([message["role"], part["type"], said]).encode())
            if (picture := part.get("image")) is not None:
                found.update(repr((picture.mode, picture.size)).encode() + picture.tobytes())
    return found.hexdigest()[:16]
