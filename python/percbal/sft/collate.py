"""Batches with a segment id for every token.

``SegmentCollator`` wraps TRL's vision collator and adds ``segment_ids``: it works on any dataset
that TRL takes, and prepares images and text on the fly. ``encoded.py`` does that work once, for a
dataset that fits in memory.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import ProcessorMixin
from trl.data_utils import is_conversational, prepare_multimodal_messages
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

from percbal.data.lines import BadRow
from percbal.data.rows import check_images, images_of, row_name
from percbal.models.placeholders import placeholder_ids
from percbal.responses.asking import Asking
from percbal.responses.format_tags import TagFormat
from percbal.responses.prompt import (
    OPTIONS,
    Begin,
    content_text,
    images_in,
    response_end,
    trained_turn,
)
from percbal.responses.spans import Tags
from percbal.segments.names import OTHER, TWO, Segments
from percbal.segments.tagged import (
    SegmentError,
    TagTokens,
    spans_from_characters,
    spans_from_format,
    spans_from_segments,
    token_segments,
)
from percbal.sft.padding import IGNORE_INDEX, Padding, use_pad_token

Example = Mapping[str, Any]
Batch = dict[str, Tensor]
MOST_SAID = 500  # characters of an error that is not ours


class SegmentCollator:
    """TRL's ``DataCollatorForVisionLanguageModeling`` plus ``segment_ids``.

    Takes examples with ``prompt``, ``completion`` and ``image`` or ``images``, if any. The
    completion's segments come from a column ``segments`` (a list of ``{"type", "text"}``) or
    ``spans`` (a list of ``{"type", "start", "end"}``) where there is one, else from the response's
    format. Returns TRL's batch with ``segment_ids`` (B, T) int64 beside ``labels``: the id of a
    segment at trained tokens, OTHER elsewhere. Only completions are trained on, and prompts where
    there is a segment ``prompt``, but for their special tokens and those of images.

    tags: of the format ``tags``, if ``asking`` is not given.
    tag_tokens: see ``segments.spans_from_format``. Tokens in no segment get the label -100 too.
    max_length: cut sequences there; None never cuts (a cut may remove image tokens).
    begin: where the completion begins, see ``responses.prompt.trained_turn``.
    asking: the format of responses, and how prompts are rendered. An example's column
        ``chat_template_kwargs`` goes before its options of the chat template.
    segments: their names; the default is perception and reasoning.
    pad_token: see ``padding.use_pad_token``; it becomes the tokenizer's.
    pad_to_multiple_of: T is a multiple of it, also behind a cut.
    """

    def __init__(
        self,
        processor: ProcessorMixin,
        tags: Tags | None = None,
        *,
        tag_tokens: TagTokens = "segment",
        max_length: int | None = None,
        begin: Begin = "generation",
        asking: Asking | None = None,
        segments: Segments = TWO,
        pad_token: str | None = None,
        pad_to_multiple_of: int | None = None,
    ) -> None:
        if not processor.tokenizer.is_fast:
            raise ValueError(
                f"{type(processor.tokenizer).__name__} is a slow tokenizer without character "
                "offsets; segments need a fast one"
            )
        self.processor = processor
        self.asking = asking or Asking(TagFormat(tags or Tags()))
        self.tag_tokens = tag_tokens
        self.max_length = max_length
        self.begin = begin
        self.segments = segments
        self.warns = True
        pad = use_pad_token(processor.tokenizer, pad_token)
        self.padding = Padding(pad, pad_to_multiple_of)
        self.stock = DataCollatorForVisionLanguageModeling(
            processor=processor, max_length=max_length, completion_only_loss=True
        )

    def __call__(self, examples: Sequence[Example]) -> Batch:
        for row, example in enumerate(examples):
            if "prompt" not in example or "completion" not in example:
                raise SegmentError(
                    "an example needs the columns prompt and completion (only completions have "
                    f"segments), got {sorted(example)}"
                )
            try:
                check_images(example)
            except BadRow as problem:
                raise SegmentError(f"{_name_of(example, row)}: {problem}") from None
        found = [self._rendered(example, row) for row, example in enumerate(examples)]
        rendered, ends = zip(*found, strict=True)
        batch = self._tokenised(examples, rendered)
        completions = [example["completion"] for example in rendered]
        segment_ids = self._segment_ids(examples, completions, ends, batch)
        if self.segments.prompt is not None:
            self._add_prompts(batch, segment_ids, self.segments.prompt)
        batch["segment_ids"] = segment_ids
        batch["labels"] = batch["labels"].masked_fill(segment_ids == OTHER, IGNORE_INDEX)
        self._warn_of_untrained(batch["labels"], segment_ids)
        return self.padding.fill(batch)

    def _tokenised(self, examples: Sequence[Example], rendered: Sequence[Any]) -> Batch:
        """The stock batch; what a processor raises names the row, or all where none fails alone."""
        try:
            return dict(self.stock([*rendered]))
        except MemoryError:
            raise
        except Exception as problem:
            alone = [row for row in range(len(rendered)) if not self._takes(rendered[row])]
            rows = alone[:1] or range(len(rendered))
            names = ", ".join(_name_of(examples[row], row) for row in rows)
            why = " ".join(f"{type(problem).__name__}: {problem}".split())
            raise SegmentError(
                f"{names}: the processor cannot encode it ({why[:MOST_SAID]})"
            ) from problem

    def _takes(self, rendered: Any) -> bool:
        try:
            self.stock([rendered])
        except Exception:
            return False
        return True

    def _add_prompts(self, batch: Batch, segment_ids: Tensor, prompt: int) -> None:
        """Labels and segments (B, T) of the prompts' words, in place."""
        ids = batch["input_ids"]
        never = torch.tensor(sorted(untrained_ids(self.processor)), device=ids.device)
        here = (batch["labels"] == IGNORE_INDEX) & batch["attention_mask"].bool()
        here &= ~torch.isin(ids, never)
        batch["labels"] = torch.where(here, ids, batch["labels"])
        segment_ids[here] = prompt

    def _warn_of_untrained(self, labels: Tensor, segment_ids: Tensor) -> None:
        """Once, of rows without a response to train on: labels and segments (B, T)."""
        if not self.warns:
            return
        prompt = self.segments.prompt
        untrained = int((~trained_rows(labels, segment_ids, prompt)).sum())
        if untrained:
            self.warns = False
            which = f"{untrained} of the {len(labels)} rows of a batch (further ones are not told)"
            warnings.warn(nothing_to_train_on(which, self.max_length, prompt), stacklevel=2)

    def _rendered(self, example: Example, row: int) -> tuple[dict[str, Any], int | None]:
        """Prompt and completion as text, and the images: what the stock collator tokenises; and
        where the response ends in the completion."""
        images = images_of(example)
        if not is_conversational(dict(example)):
            if self.asking.adds or self.asking.template or example.get(OPTIONS):
                raise SegmentError(
                    f"{_name_of(example, row)}: state_format, format_examples and "
                    "chat_template_kwargs need prompts that are messages"
                )
            texts = {name: example[name] for name in ("prompt", "completion")}
            return {**texts, "images": images}, None
        prompt = prepare_multimodal_messages(example["prompt"], images=images)
        try:
            asked = self.asking.prompt(prompt, example.get(OPTIONS))
            said = prepare_multimodal_messages(example["completion"])
            turn = trained_turn(self.processor, asked, said, begin=self.begin)
            end = response_end(self.processor, asked, said, turn, begin=self.begin)
        except ValueError as problem:
            raise SegmentError(f"{_name_of(example, row)}: {problem}") from None
        return {**turn._asdict(), "images": [*images_in(prompt)]}, end

    def _segment_ids(
        self,
        examples: Sequence[Example],
        completions: list[str],
        ends: Sequence[int | None],
        batch: Batch,
    ) -> Tensor:
        encoded = self.processor.tokenizer(
            completions, add_special_tokens=False, return_offsets_mapping=True
        )
        segment_ids = torch.full_like(batch["input_ids"], OTHER)
        trained = batch["labels"] != IGNORE_INDEX  # (B, T), exactly the completions' tokens
        for row, (example, text) in enumerate(zip(examples, completions, strict=True)):
            where = trained[row].nonzero().squeeze(1)
            ids = torch.tensor(encoded["input_ids"][row][: len(where)], dtype=torch.int64)
            if not torch.equal(batch["input_ids"][row, where], ids):
                raise SegmentError(
                    f"{_name_of(example, row)}: its completion tokenises differently inside the "
                    "processor, so its tokens cannot be told apart"
                )
            offsets = np.asarray(encoded["offset_mapping"][row]).reshape(-1, 2)
            spans = self._spans(example, text, ends[row], row)
            segments = token_segments(text, spans, offsets, self.segments)
            segment_ids[row, where] = torch.from_numpy(segments[: len(where)])
        return segment_ids

    def _spans(
        self, example: Example, text: str, end: int | None, row: int
    ) -> list[tuple[int, int, int]]:
        how: Any = {"named": self.segments, "name": _name_of(example, row)}
        there: Any = {"response": _response(example), "end": end}
        if example.get("segments"):
            return spans_from_segments(text, example["segments"], **there, **how)
        if example.get("spans"):
            return spans_from_characters(text, example["spans"], **there, **how)
        if not isinstance(example["completion"], str) and len(example["completion"]) > 1:
            there = {}  # any of its messages may have the perception
        chosen = self.asking.response_format
        return spans_from_format(text, chosen, tag_tokens=self.tag_tokens, **there, **how)


def nothing_to_train_on(which: str, max_length: int | None, prompt: int | None = None) -> str:
    """The sentence for rows whose responses are all cut off; prompt: the id of that segment."""
    cause = "" if max_length is None else f": max_length={max_length} ends before their completions"
    what = "token" if prompt is None else "token of a response"
    return f"{which} have no {what} to train on{cause}"


def untrained_ids(processor: Any) -> set[int]:
    """Tokens of a prompt that nobody is to write: special ones, and those of images and videos."""
    tokenizer = processor.tokenizer
    added = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    return placeholder_ids(processor) | {*tokenizer.all_special_ids} | added


def trained_rows(labels: Tensor, segment_ids: Tensor, prompt: int | None) -> Tensor:
    """(B,) whether any token of a response is trained on: labels and segments (B, T). The first
    token is predicted by nothing; prompt: the id of prompts, which count for nothing here."""
    trained = labels[:, 1:] != IGNORE_INDEX
    return (trained if prompt is None else trained & (segment_ids[:, 1:] != prompt)).any(1)


def of_responses(counts: Tensor, prompt: int | None) -> Tensor:
    """Counts (S,) of segments, 0 for prompts."""
    keep = torch.arange(len(counts), device=counts.device) != (-1 if prompt is None else prompt)
    return counts * keep


def _response(example: Example) -> str:
    """What the completion says, as it stands in the data."""
    completion = example["completion"]
    return (
        completion if isinstance(completion, str) else content_text(completion[-1].get("content"))
    )


def image_count(example: Example) -> int:
    """Images of an example, in its columns and within its messages."""
    messages = example["prompt"] if isinstance(example["prompt"], list) else []
    parts = [p for m in messages if isinstance(m["content"], list) for p in m["content"]]
    return len(images_of(example)) + sum(part.get("image") is not None for part in parts)


def _name_of(example: Example, row: int) -> str:
    return row_name(example, f"example {row} of the batch")
