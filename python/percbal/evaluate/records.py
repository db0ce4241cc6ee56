"""What was answered to one question, and how each answer scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from percbal.evaluate.errors import error_of
from percbal.evaluate.generation import Completion
from percbal.evaluate.questions import IMAGE, TEXT, TOLD, Question
from percbal.responses.asking import Asking
from percbal.tasks.base import Score, Table, WrongPart
from percbal.tasks.judging import told_wrong


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One answer to each way of asking; None, or empty, for a way that was not asked."""

    completion: str  # from the image
    reasoned: str | None  # from the image and the true perception, which it begins with
    text_completion: str | None  # from the true perception as text, without the image
    a: bool
    a_p: bool
    a_r: bool | None
    a_r_text: bool | None
    perception_f1: float
    reasoning: bool | None  # right for what it says it perceived; None where nobody can tell
    error: str  # one of `percbal.evaluate.names.ERRORS`
    parsed: bool
    reason: str  # why the completion from the image could not be read, if so
    cut: bool  # it ended at the limit of tokens, not by itself
    cut_reasoned: bool  # so did the second
    cut_text: bool  # and the third
    marked: dict[str, Table]  # what it saw and answered, part by part: (text, is it right)
    wrong_parts: list[WrongPart]  # of the picture, that it saw wrong; empty where nobody can tell
    wrong_answers: list[WrongPart]  # parts of its answer that are wrong; likewise


@dataclass(frozen=True, kw_only=True)
class Record(Trial):
    """One instance: its first trial, and further ones where completions are sampled."""

    index: int
    place: str  # of the instance in its source
    query: str
    perception: str  # the true one
    truth: Any  # what the judge read
    difficulty: dict[str, float | int | str]
    picture: str  # its path, where there is one
    a_p_exact: float | None  # probability of the true perception; None where it was not computed
    further: list[Trial] = field(default_factory=list)

    @property
    def trials(self) -> list[Trial]:
        """All of them."""
        return [self, *self.further]


def record_of(
    asking: Asking,
    question: Question,
    answers: Sequence[Mapping[str, Completion]],
    exact: float | None = None,
) -> Record:
    """answers: of each trial, by the way of asking; the image's is always there."""
    first, *further = [_trial(asking, question, each) for each in answers]
    return Record(
        **first,
        index=question.index,
        place=question.place,
        query=question.query,
        perception=question.perception,
        truth=question.truth,
        difficulty=dict(question.difficulty),
        picture=question.picture,
        a_p_exact=exact,
        further=[Trial(**each) for each in further],
    )


def _trial(asking: Asking, question: Question, answers: Mapping[str, Completion]) -> dict[str, Any]:
    judge, truth = question.judge, question.truth
    texts = {way: answer.text for way, answer in answers.items()}
    read = {way: asking.response_format.tagged(text) for way, text in texts.items()}
    scores: dict[str, Score] = {way: judge.score(text, truth) for way, text in read.items()}
    seen = scores[IMAGE]
    right = {way: score.answer is True for way, score in scores.items()}
    marked = getattr(judge, "marked", None)
    return {
        "completion": texts[IMAGE],
        "reasoned": texts.get(TOLD),
        "text_completion": texts.get(TEXT),
        "a": right[IMAGE],
        "a_p": seen.perception is True,
        "a_r": right.get(TOLD),
        "a_r_text": right.get(TEXT),
        "perception_f1": float(seen.perception_f1),
        "reasoning": seen.reasoning,
        "error": error_of(read[IMAGE], seen, right.get(TOLD)),
        "parsed": seen.parsed,
        "reason": _reason(seen, asking, texts[IMAGE]),
        "cut": answers[IMAGE].cut,
        "cut_reasoned": TOLD in answers and answers[TOLD].cut,
        "cut_text": TEXT in answers and answers[TEXT].cut,
        "marked": {} if marked is None else marked(read[IMAGE], truth),
        "wrong_parts": told_wrong(judge, "wrong_parts", read[IMAGE], truth),
        "wrong_answers": told_wrong(judge, "wrong_answers", read[IMAGE], truth),
    }


def _reason(score: Score, asking: Asking, completion: str) -> str:
    """Why a completion could not be read, in the words of its own format."""
    if asking.plain or score.parsed:
        return score.reason
    reading = asking.response_format.read(completion)
    problems = dict.fromkeys(why.problem for why in reading.refusals.values())
    return "; ".join(problems) or score.reason
