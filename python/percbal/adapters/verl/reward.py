"""The reward of a tagged response, as verl's ``custom_reward_function`` wants it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from percbal.responses.copied import copies_an_answer, words
from percbal.responses.labels import label_text
from percbal.responses.spans import Spans, find_spans
from percbal.responses.thoughts import without_thoughts
from percbal_ops import score_text
from percbal_ops.text import GRAMMARS

SHORTEST_LIMIT = 64  # characters that a perception may always have


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Mapping[str, str] | str,
    extra_info: Mapping[str, Any] | None = None,
    *,
    alpha: float = 0.5,
    perception_grammar: str = "grid",
    answer_grammar: str = "text",
    perception_score: Literal["exact", "f1"] = "exact",
    longest: float = 4.0,
    **_: Any,
) -> dict[str, float]:
    """``alpha * perception + (1 - alpha) * outcome`` and its parts.

    Args:
        solution_str: the response, untrusted; no text makes this raise. Its thoughts are not read
            (`percbal.responses.thoughts`).
        ground_truth: ``{"perception": .., "answer": ..}``, the right text of both spans, or the
            same as JSON.
        alpha: the weight of perception, in [0, 1].
        perception_grammar, answer_grammar: of ``percbal_ops.score_text``.
        perception_score: "exact", 1 or 0 (T1 of docs/coupling.md), or "f1" (T4).
        longest: a perception of more characters than ``longest`` times the reference's (and more
            than 64) counts for nothing.

    Returns the same keys for every response, floats in [0, 1]:
        score: the mixed reward.
        outcome: 1 if the answer span is exactly right.
        perception: 0 where the span does not count, is empty or too long, or where it is not
            exactly right and holds an answer, the response's own or the right one, which the true
            perception does not hold (`percbal.responses.copied`, as in TRL's rewards).
        format: 1 if perception, reasoning and answer are each there once and in order; only
            measured.

    Raises ValueError for unusable options or a ground truth without the two texts.
    """
    _check(alpha, perception_grammar, answer_grammar, perception_score, longest)
    truth = _texts(ground_truth, data_source)
    text = without_thoughts(solution_str)
    seen = score_text([text], [truth["perception"]], perception_grammar, threads=1)  # type: ignore[arg-type]
    said = score_text(
        [text],
        [truth["answer"]],
        answer_grammar,  # type: ignore[arg-type]
        span="answer",
        threads=1,
    )
    spans = find_spans(text)
    perception = 0.0
    if _earns(spans, truth, longest, exact=bool(seen.exact[0] == 1)):
        perception = float(seen.exact[0] if perception_score == "exact" else seen.f1[0])
    outcome = float(said.exact[0] == 1)  # NaN, not scored, is not 1
    return {
        "score": alpha * perception + (1 - alpha) * outcome,
        "outcome": outcome,
        "perception": perception,
        "format": float(all(span.status == "ok" for span in spans.found.values())),
    }


def _earns(spans: Spans, truth: Mapping[str, str], longest: float, *, exact: bool) -> bool:
    """Whether the perception counts, is neither empty nor too long, and holds no copied answer."""
    text, answers = spans.perception, (spans.answer, truth["answer"])
    if text is None or not text.strip():
        return False
    if len(text) > max(longest * len(truth["perception"]), SHORTEST_LIMIT):
        return False
    return not copies_an_answer(words(text), answers, truth["perception"], exact=exact)


def _texts(ground_truth: Mapping[str, str] | str, data_source: str) -> Mapping[str, str]:
    if isinstance(ground_truth, str):
        try:
            ground_truth = json.loads(ground_truth)
        except (ValueError, RecursionError):
            ground_truth = {}
    given = ground_truth if isinstance(ground_truth, Mapping) else {}
    texts = {}
    for name in ("perception", "answer"):
        try:
            text, why = label_text(given.get(name), name), "it is missing"
        except ValueError as problem:
            text, why = None, str(problem)
        if text is None:  # verl knows no response that is not scored
            raise ValueError(
                f"the ground_truth of data_source {data_source!r} must hold the text {name!r}, as "
                f"a mapping or as JSON, got {str(ground_truth)[:80]}: {why}"
            )
        texts[name] = text
    return texts


def _check(alpha: float, perception: str, answer: str, score: str, longest: float) -> None:
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be in [0, 1], got {alpha}")
    for name, value in {"perception_grammar": perception, "answer_grammar": answer}.items():
        if value not in GRAMMARS:
            raise ValueError(f"{name} must be one of {', '.join(GRAMMARS)}, got {value!r}")
    if score not in ("exact", "f1"):
        raise ValueError(f"perception_score must be exact or f1, got {score!r}")
    if not longest > 0:
        raise ValueError(f"longest must be positive, got {longest}")
