"""`score_text` in plain Python: what it means, and what runs where nothing was compiled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from percbal_ops.text.grammars import READERS, Read

STATUS = (
    "ok",
    "missing",
    "unclosed",
    "unopened",
    "repeated",
    "nested",
    "disordered",
    "malformed",
)
OK, MISSING, UNCLOSED, UNOPENED, REPEATED, NESTED, DISORDERED, MALFORMED = range(8)
Spans = list[tuple[int, int, int]]  # status, begin, end in bytes


def score_text(
    completions: Sequence[str | bytes],
    references: Sequence[str | bytes],
    grammar: str,
    tags: list[list[str]],
    span: int,
    threads: int,
) -> dict[str, np.ndarray]:
    """The same arrays as the compiled function; ``threads`` is of no use here."""
    texts, truths = _encoded(completions, "completions"), _encoded(references, "references")
    if len(texts) != len(truths):
        raise ValueError(
            f"completions and references must have one length, got {len(texts)} and {len(truths)}"
        )
    byte_tags = [[tag.encode() for tag in pair] for pair in tags]
    n = len(texts)
    out: dict[str, np.ndarray] = {
        "status": np.zeros(n, np.uint8),
        "span_status": np.zeros((n, 3), np.uint8),
        "bytes": np.full((n, 3, 2), -1, np.int64),
        "chars": np.full((n, 3, 2), -1, np.int64),
        "scores": np.full((n, 5), np.nan, np.float32),
    }
    for i, (text, truth) in enumerate(zip(texts, truths, strict=True)):
        wanted = READERS[grammar](truth)
        if wanted[2]:
            raise ValueError(f"references[{i}] is not in the grammar {grammar}")
        spans = find_spans(text, byte_tags)
        for k, (status, begin, end) in enumerate(spans):
            out["span_status"][i, k] = status
            if status == OK:
                out["bytes"][i, k] = begin, end
                out["chars"][i, k] = _characters(text[:begin]), _characters(text[:end])
        status, begin, end = spans[span]
        out["status"][i] = status
        if status == OK:
            guess = READERS[grammar](text[begin:end])
            out["scores"][i] = compare(guess, wanted, grammar)
            out["status"][i] = MALFORMED if guess[2] else OK
    return out


def find_spans(text: bytes, tags: list[list[bytes]]) -> Spans:
    spans: Spans = []
    for opening, closing in tags:
        opened, closed = _places(text, opening), _places(text, closing)
        if len(opened) > 1 or len(closed) > 1:
            spans.append((REPEATED, -1, -1))
        elif not opened:
            spans.append((UNOPENED if closed else MISSING, -1, -1))
        elif not closed:
            spans.append((UNCLOSED, -1, -1))
        elif closed[0] < opened[0] + len(opening):
            spans.append((NESTED, -1, -1))
        else:
            spans.append((OK, opened[0] + len(opening), closed[0]))
    begins = [begin for status, begin, _ in spans if status == OK]
    ordered = begins == sorted(begins)
    every = [tag for pair in tags for tag in pair]
    for k, (status, begin, end) in enumerate(spans):
        if status == OK and any(tag in text[begin:end] for tag in every):
            spans[k] = (NESTED, -1, -1)
        elif status == OK and not ordered:
            spans[k] = (DISORDERED, -1, -1)
    return spans


def compare(guess: Read, truth: Read, grammar: str) -> tuple[float, float, float, float, float]:
    """Exact, precision, recall, F1 and edit similarity: (T1) to (T5)."""
    items, sequence, junk = guess
    mine, theirs = Counter(items), Counter(truth[0])
    is_set = grammar != "text"
    if grammar == "edges":  # the order in which edges are written means nothing
        rank = {edge: i for i, edge in enumerate(truth[1])}
        sequence = sorted(sequence, key=lambda edge: rank.get(edge, len(rank)))
    if is_set:
        mine, theirs = Counter(set(items)), Counter(set(truth[0]))
    shared = sum((mine & theirs).values())
    guessed, wanted = sum(mine.values()) + junk, sum(theirs.values())
    exact = shared == guessed == wanted and (is_set or items == truth[0])
    both = guessed + wanted
    return (
        float(exact),
        shared / guessed if guessed else float(wanted == 0),
        shared / wanted if wanted else float(guessed == 0),
        2 * shared / both if both else 1.0,
        1.0 if exact else edit_similarity(sequence + [None] * junk, truth[1]),
    )


def edit_similarity(a: list[Any], b: list[Any]) -> float:
    """1 - Levenshtein distance / length of the longer one; 1 for two empty ones."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return 1 - row[-1] / max(len(a), len(b), 1)


def _places(text: bytes, tag: bytes) -> list[int]:
    """Up to two places where the tag occurs, overlaps included."""
    first = text.find(tag)
    second = text.find(tag, first + 1) if first >= 0 else -1
    return [at for at in (first, second) if at >= 0]


def _characters(text: bytes) -> int:
    return sum((byte & 0xC0) != 0x80 for byte in text)


def _encoded(texts: Sequence[str | bytes], name: str) -> list[bytes]:
    out = []
    for i, text in enumerate(texts):
        if isinstance(text, str):
            out.append(text.encode("utf-8", "surrogatepass"))
        elif isinstance(text, bytes):
            out.append(text)
        else:
            raise TypeError(f"{name}[{i}] must be str or bytes, got {type(text).__name__}")
    return out
