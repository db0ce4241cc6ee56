"""Scores what completions say they perceive, a batch of strings at a time.

docs/coupling.md has the grammars and the numbers, (T1) to (T5).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from percbal_ops.text import reference as text_reference

try:
    from percbal_ops import _text as compiled  # type: ignore[attr-defined]
except ImportError:
    compiled = None

SPANS = ("perception", "reasoning", "answer")
GRAMMARS = ("grid", "edges", "numbers", "text")
STATUS = text_reference.STATUS
DEFAULT_TAGS: Mapping[str, tuple[str, str]] = {n: (f"<{n}>", f"</{n}>") for n in SPANS}
BAD_REFERENCE = re.compile(r"references\[(\d+)\] is not")
LONG = 40  # characters of a reference that an error shows
LONGEST_TAG = 64  # bytes; bounds the work at each position of an untrusted text


@dataclass(frozen=True)
class TextScores:
    """One row per completion. Scores are NaN, "not scored", unless the span was found."""

    status: Tensor  # (R,) uint8, an index into `STATUS`: of the scored span
    exact: Tensor  # (R,) float32, 1 or 0 (T1)
    precision: Tensor  # (R,) float32 (T2)
    recall: Tensor  # (R,) float32 (T3)
    f1: Tensor  # (R,) float32 (T4)
    edit_similarity: Tensor  # (R,) float32 (T5)
    span_status: Tensor  # (R, 3) uint8, of perception, reasoning and answer
    byte_spans: Tensor  # (R, 3, 2) int64: where the text between the tags begins and ends in
    # UTF-8, -1 where the span was not found
    char_spans: Tensor  # (R, 3, 2) int64: the same as indices into the str

    def records(self) -> list[dict[str, Any]]:
        """A dictionary per completion, with None for what was not scored."""
        names = ("exact", "precision", "recall", "f1", "edit_similarity")
        columns = {name: getattr(self, name).tolist() for name in names}
        chars = self.char_spans.tolist()
        return [
            {"status": STATUS[status]}
            | {n: None if columns[n][i] != columns[n][i] else columns[n][i] for n in names}
            | {n: tuple(s) if s[0] >= 0 else None for n, s in zip(SPANS, chars[i], strict=True)}
            for i, status in enumerate(self.status.tolist())
        ]


def score_text(
    completions: Sequence[str | bytes],
    references: Sequence[str | bytes],
    grammar: Literal["grid", "edges", "numbers", "text"] = "grid",
    *,
    span: Literal["perception", "reasoning", "answer"] = "perception",
    tags: Mapping[str, tuple[str, str]] = DEFAULT_TAGS,
    threads: int | None = None,
) -> TextScores:
    """Scores one tagged span of every completion against its reference.

    Args:
        completions: untrusted texts; nothing in them raises. bytes are taken as UTF-8, valid or
            not.
        references: as many trusted texts, each the right content of the span, without tags.
        grammar: "grid", cells such as ``r1c2=3`` or ``[[1, "-"], [2, 3]]``, or a square such as
            ``[1, 0, 2, 3]`` with 0 for empty; "edges", undirected, such as ``0-1 1-2``, ``[[0, 1],
            [1, 2]]`` or ``{"v": 3, "c": 2, "edges": [[0, 1]]}``; "numbers", the leaves of a JSON
            value; "text", words.
        span: the span to score. A span counts only if its opening and its closing tag occur
            exactly once each, in order, with no tag in between; otherwise it is not scored, and
            the rest of the completion is never scored in its place.
        tags: the opening and closing tag of each of the three spans, matched byte for byte.
        threads: default the number that torch uses; of the compiled scorer, and no more than one
            for 64 completions, nor than four for a core.

    Raises TypeError for an element that is neither str nor bytes; ValueError for lists of
    different lengths, an unknown grammar or span, unusable tags, ``threads`` below 1, or a
    reference that is not in the grammar.
    """
    if grammar not in GRAMMARS:
        raise ValueError(f"grammar must be one of {GRAMMARS}, got {grammar!r}")
    if span not in SPANS:
        raise ValueError(f"span must be one of {SPANS}, got {span!r}")
    threads = torch.get_num_threads() if threads is None else threads
    if threads < 1:
        raise ValueError(f"threads must be 1 or more, got {threads}")
    for name, texts in {"completions": completions, "references": references}.items():
        if isinstance(texts, (str, bytes)):
            raise TypeError(f"{name} must be a sequence of texts, got one {type(texts).__name__}")
    pairs = _checked_tags(tags)
    threads = max(1, min(threads, len(completions) // 64, 4 * (os.cpu_count() or 1)))
    engine = compiled or text_reference
    try:
        raw = engine.score_text(completions, references, grammar, pairs, SPANS.index(span), threads)
    except ValueError as problem:
        if (found := BAD_REFERENCE.match(str(problem))) is None:
            raise
        bad = references[int(found[1])]
        shown = f"{bad[:LONG]!r}{' ..' if len(bad) > LONG else ''}"
        raise ValueError(f"{problem}, got {shown}") from None
    status, span_status, spans, chars, scores = (
        torch.from_numpy(raw[k]) for k in ("status", "span_status", "bytes", "chars", "scores")
    )
    exact, precision, recall, f1, edit_similarity = scores.unbind(1)
    return TextScores(
        status, exact, precision, recall, f1, edit_similarity, span_status, spans, chars
    )


def _checked_tags(tags: Mapping[str, tuple[str, str]]) -> list[list[str]]:
    if set(tags) != set(SPANS):
        raise ValueError(f"tags must name {SPANS}, got {tuple(tags)}")
    flat = [tag for name in SPANS for tag in tags[name]]
    if len(flat) != 6 or len(set(flat)) != 6:
        raise ValueError(f"tags must be six different strings, two per span, got {flat}")
    for tag in flat:
        if not 1 <= len(tag.encode()) <= LONGEST_TAG:
            raise ValueError(f"a tag must have 1 to {LONGEST_TAG} bytes, got {tag!r}")
    return [list(tags[name]) for name in SPANS]
