"""Which tokens of a generated completion are in which segment, from the ids that were sampled.

A model may sample any of the many id sequences that decode to one text, so the text is never
tokenised again: the spans are found in the decoded text, and their borders are carried back to the
ids. (`tagged.py` does the same for text that is tokenised for fine-tuning.)
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Literal

import numpy as np
from tokenizers import decoders, pre_tokenizers

from percbal.responses.format_tags import TagFormat
from percbal.responses.formats import Format
from percbal.responses.reading import Reading
from percbal.responses.spans import DEFAULT_TAGS, Tags
from percbal.responses.thoughts import CLOSING, response_start
from percbal.segments.names import TWO, Segments
from percbal.segments.parts import marked

BYTE_ALPHABET = frozenset(pre_tokenizers.ByteLevel.alphabet())  # one character for each byte


@dataclass(frozen=True)
class GeneratedSegments:
    """One entry per completion, in order."""

    segments: list[np.ndarray]  # (T_i,) int64 of the segments' ids, never OTHER
    text: list[str]  # decoded without special tokens
    perception: list[str | None]  # what it says, None where ``failed``
    failed: np.ndarray  # (B,) bool: no perception that counts
    readings: list[Reading] = field(
        default_factory=list
    )  # what else the format finds, and why parts do not count
    named: Segments = TWO

    @property
    def is_perception(self) -> list[np.ndarray]:
        """(T_i,) bool"""
        return [segments == self.named.id_of("perception") for segments in self.segments]


def segment_completions(
    tokenizer: Any,
    completion_ids: Sequence[Sequence[int]],
    response_format: Format | Tags = DEFAULT_TAGS,
    *,
    unclosed: Literal["reasoning", "perception"] = "reasoning",
    thinking: Sequence[bool] | None = None,
    named: Segments = TWO,
) -> GeneratedSegments:
    """Cut sampled completions into segments, their marks included: perception, the rest reasoning.

    The perception counts by the rule of its format (`percbal.responses.formats`). Where it does
    not, its tokens are reasoning and ``failed`` is set, so that no rule has to guess which of two
    candidates was meant; the same goes for other segments. Other parts need not be there, and a
    completion that the length limit cut after its perception is well formed.

    A token that straddles a border of the span is perception (of other spans: by
    `Segments.strongest_first`). A token without characters (a special token, or the first bytes of
    a character) is perception strictly inside the span.

    Args:
        tokenizer: fast or slow; marks of fixed text, such as tags, must not be special tokens of
            it, since decoding drops those.
        completion_ids: (B, T_i) ids without the prompt; <eos> and padding anywhere.
        response_format: or the tags of the format ``tags``.
        unclosed: what the tokens are from an opening tag that is never closed, as in a
            completion cut by the length limit, up to the next tag or the end; it is ``failed``
            either way. Formats without tags leave them to the reasoning.
        thinking: of each completion, whether its prompt opens a block of thoughts; one that does
            not close it is all thought.
        named: the segments, perception and reasoning among them.

    Raises ValueError for an unknown ``unclosed``, or marks that are special tokens or unusable.
    """
    if unclosed not in ("reasoning", "perception"):
        raise ValueError(f'unclosed must be "reasoning" or "perception", got {unclosed!r}')
    chosen = TagFormat(response_format) if isinstance(response_format, Tags) else response_format
    ids = [[int(i) for i in row] for row in completion_ids]
    text = tokenizer.batch_decode(ids, skip_special_tokens=True) if ids else []
    inside = thinking or [False] * len(text)
    unfinished = [
        within and CLOSING not in words for within, words in zip(inside, text, strict=True)
    ]
    readings = [
        chosen.read("" if thinks else words) for thinks, words in zip(unfinished, text, strict=True)
    ]
    borders = _Borders(tokenizer, ids, chosen, named)
    segments = []
    for row, reading, thinks in zip(ids, readings, unfinished, strict=True):
        segment = borders.segments(row, reading, named.id_of("think") if thinks else named.rest)
        if "perception" not in reading.parts and unclosed == "perception":
            if area := chosen.unclosed(reading.source):
                segment[borders.of(row, reading.source, *area)] = named.id_of("perception")
        segments.append(segment)
    perception = [reading.perception for reading in readings]
    failed = np.array([said is None for said in perception], dtype=bool)
    return GeneratedSegments(segments, text, perception, failed, readings, named)


class _Borders:
    """The tokens of one batch that cover some characters, by the fastest way that is exact."""

    def __init__(
        self, tokenizer: Any, ids: list[list[int]], chosen: Format, named: Segments
    ) -> None:
        self.tokenizer = tokenizer
        _check_marks(tokenizer, {*chosen.fixed, *chain.from_iterable(named.tags.values())})
        self.tag_ids = (
            _ids_of_tags(tokenizer, chosen.tags) if isinstance(chosen, TagFormat) else None
        )
        self.byte_lengths = _byte_lengths(tokenizer, ids)
        self.named = named

    def segments(self, row: list[int], reading: Reading, rest: int) -> np.ndarray:
        """(T,) int64: the segments that count, and ``rest`` where nothing is marked."""
        segments, text = np.full(len(row), rest, dtype=np.int64), reading.source
        perception = self.named.id_of("perception")
        for start, end, found in marked(reading, self.named, response_start(text)).spans:
            if found == perception:
                segments[self.closed(row, text, start, end)] = found
            elif found != self.named.rest:
                segments[self.of(row, text, start, end)] = found
        return segments

    def closed(self, row: list[int], text: str, start: int, end: int) -> slice:
        """The perception of ``text``, which counts."""
        if self.tag_ids and all(row.count(tag) == 1 for tag in self.tag_ids):
            opening, closing = self.tag_ids
            return slice(row.index(opening), row.index(closing) + 1)
        return self.of(row, text, start, end)

    def of(self, row: list[int], text: str, start: int, end: int) -> slice:
        """Tokens that hold any of ``text[start:end]``, and those without characters between."""
        if self.byte_lengths is not None:
            lengths = np.array([self.byte_lengths[i] for i in row])
            ends = lengths.cumsum()  # (T,) where each token ends, in bytes
            # bytes that are not UTF-8 became U+FFFD, of another length: then the sums differ
            if ends[-1] == len(text.encode()):
                first, last = len(text[:start].encode()), len(text[:end].encode())
                return slice(
                    int(np.searchsorted(ends, first, side="right")),
                    int(np.searchsorted(ends - lengths, last, side="left")),
                )
        first = self._decoded_by(row, text[: start + 1]) - 1
        return slice(first, self._decoded_by(row, text[:end]))

    def _decoded_by(self, row: list[int], beginning: str) -> int:
        """How many tokens it takes until their decoded text begins so: log2(T) decodes.

        Whole prefixes are decoded, never single tokens, whose text may be half a character or
        lack the space before it.
        """

        def reached(n: int) -> bool:
            return self.tokenizer.decode(row[:n], skip_special_tokens=True).startswith(beginning)

        return bisect_left(range(len(row)), True, key=reached)


def _check_marks(tokenizer: Any, fixed: set[str]) -> None:
    special = fixed.intersection(
        str(token) for token in tokenizer.added_tokens_decoder.values() if token.special
    )
    if special:
        raise ValueError(
            f"{min(special)} is a special token, which decoding drops: add the tags to the "
            "tokenizer as ordinary tokens, or not at all"
        )


def _ids_of_tags(tokenizer: Any, tags: Tags) -> list[int] | None:
    """The ids of the two perception tags where each is one token, as in a word-level tokenizer."""
    ids = tokenizer.convert_tokens_to_ids(list(tags.perception))
    whole = all(
        i is not None and tokenizer.decode([i]) == tag
        for i, tag in zip(ids, tags.perception, strict=True)
    )
    return ids if whole else None


def _byte_lengths(tokenizer: Any, ids: list[list[int]]) -> dict[int, int] | None:
    """Bytes of text behind each id of the batch, where the tokenizer is byte-level BPE."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or not isinstance(backend.decoder, decoders.ByteLevel):
        return None
    added = tokenizer.added_tokens_decoder
    used = sorted(set(chain.from_iterable(ids)))
    lengths = {}
    for i, token in zip(used, tokenizer.convert_ids_to_tokens(used), strict=True):
        # no token: the head of a model may be larger than its vocabulary
        if token is None or (i in added and added[i].special):
            lengths[i] = 0
        else:  # an added token may be plain text instead
            lengths[i] = len(token if BYTE_ALPHABET.issuperset(token) else token.encode())
    return lengths
