"""Rewards from labels in the data set: the right answer, and p*, the text of the image.

Each is a TRL reward function. A completion that earns nothing gets 0; None, which TRL leaves out,
only where the data set has no label, null or NaN. A label that is no text raises ValueError.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from percbal.responses.copied import copies_an_answer, words
from percbal.responses.labels import is_missing
from percbal.rewards.texts import MOST_ITEMS, completion_text, labels, read_parts, readable
from percbal_ops import score_text

Rewards = list[float | None]
GRAMMAR = "text"  # of a data set without a column that names one


def outcome(
    completions: Sequence[Any],
    answer: Sequence[str | None],
    grammar: Sequence[str | None] | None = None,
    answer_grammar: Sequence[str | None] | None = None,
    **_: Any,
) -> Rewards:
    """1 if the text between the answer tags is the column ``answer`` exactly, by its grammar."""
    chosen = grammar if answer_grammar is None else answer_grammar
    scores = _scores(completions, labels(answer, "answer", len(completions)), chosen, "answer")
    return [None if s is None else float(s["exact"] == 1) for s in scores]


def perception(
    completions: Sequence[Any],
    perception: Sequence[str | None],
    grammar: Sequence[str | None] | None = None,
    **_: Any,
) -> Rewards:
    """1 if the text between the perception tags is the column ``perception``, p*, exactly."""
    truth = labels(perception, "perception", len(completions))
    scores = _scores(completions, truth, grammar, "perception")
    return [None if s is None else float(s["exact"] == 1) for s in scores]


def perception_f1(
    completions: Sequence[Any],
    perception: Sequence[str | None],
    grammar: Sequence[str | None] | None = None,
    answer: Sequence[str | None] | None = None,
    **_: Any,
) -> Rewards:
    """F1 (T4) between the items, such as cells or edges, of the perception and of p*.

    0 for more than ``MOST_ITEMS`` times the items of p*, and for a perception that contains the
    completion's answer, or the column ``answer``, word for word where p* does not and which is
    not p* exactly.
    """
    shown = labels(perception, "perception", len(completions))
    right = labels(answer, "answer", len(completions))
    scores = _scores(completions, shown, grammar, "perception")
    out: Rewards = []
    for score, parts, truth, label in zip(
        scores, read_parts(completions), shown, right, strict=True
    ):
        if score is None:
            out.append(None)
        elif not score["f1"] or score["recall"] > MOST_ITEMS * score["precision"]:
            out.append(0.0)
        else:
            perceived = words(parts.perception or "")
            exact = score["exact"] == 1
            copied = copies_an_answer(perceived, (parts.answer, label), truth, exact=exact)
            out.append(0.0 if copied else score["f1"])
    return out


def format(completions: Sequence[Any], **_: Any) -> Rewards:
    """1 for the three spans once each, in order, with only space around them.

    The perception and the answer must not be empty, the perception not enormous. What they say
    is not judged.
    """
    return [
        float(
            parts.complete
            and readable(words(parts.perception or ""))
            and bool(words(parts.answer or ""))
        )
        for parts in read_parts(completions)
    ]


def _scores(
    completions: Sequence[Any],
    references: Sequence[str | None],
    grammars: Sequence[str | None] | None,
    span: Any,
) -> list[dict[str, Any] | None]:
    """`TextScores.records` of the rows that have a reference, each by its grammar."""
    chosen = [
        GRAMMAR if is_missing(grammar) or not grammar else grammar
        for grammar in grammars or [None] * len(completions)
    ]
    out: list[dict[str, Any] | None] = [None] * len(completions)
    for grammar in dict.fromkeys(chosen):
        rows = [i for i, g in enumerate(chosen) if g == grammar and references[i] is not None]
        texts = [completion_text(completions[i]) for i in rows]
        truths = [references[i] for i in rows]
        records = score_text(texts, truths, grammar, span=span).records()  # type: ignore[arg-type]
        for i, record in zip(rows, records, strict=True):
            out[i] = record
    return out
