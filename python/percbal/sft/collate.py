"""Batches with a segment id for every token.

``SegmentCollator`` wraps TRL's vision collator and adds ``segment_ids``: it works on any dataset
that TRL takes, and prepares images and text on the fly. ``encode_examples`` does that work once,
for a dataset that fits in memory; ``PaddingCollator`` then only pads, and gives the same batches.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset as HFDataset
from torch import Tensor
from torch.utils.data import Dataset
from transformers import ProcessorMixin
from trl.data_utils import is_conversational, prepare_multimodal_messages
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

from percbal.data.lines import BadRow
from percbal.data.rows import check_images, row_name
from percbal.responses.asking import Asking
from percbal.responses.format_tags import TagFormat
from percbal.responses.prompt import OPTIONS, Begin, images_in, text_of, trained_turn
from percbal.responses.spans import Tags
from percbal.segments.tagged import (
    OTHER,
    SegmentError,
    TagTokens,
    spans_from_characters,
    spans_from_format,
    spans_from_segments,
    token_segments,
)

IGNORE_INDEX = -100
Example = Mapping[str, Any]
Batch = dict[str, Tensor]

# Keys with one entry per token, and what they are padded with (the tokenizer's id for input_ids).
TOKEN_KEYS = {
    "input_ids": 0,
    "attention_mask": 0,
    "labels": IGNORE_INDEX,
    "segment_ids": OTHER,
    "token_type_ids": 0,
    "mm_token_type_ids": 0,
}


class SegmentCollator:
    """TRL's ``DataCollatorForVisionLanguageModeling`` plus ``segment_ids``.

    Takes examples with ``prompt``, ``completion`` and ``image`` or ``images``, if any. The
    completion's segments come from a column ``segments`` (a list of ``{"type", "text"}``) or
    ``spans`` (a list of ``{"type", "start", "end"}``) where there is one, else from the response's
    format. Returns TRL's batch with ``segment_ids`` (B, T) int64 beside ``labels``: PERCEPTION or
    REASONING at trained tokens, OTHER elsewhere. Only completions are trained on.

    tags: of the format ``tags``, if ``asking`` is not given.
    tag_tokens: see ``segments.spans_from_format``. Tokens in no segment get the label -100 too.
    max_length: cut sequences there; None never cuts (a cut may remove image tokens).
    begin: where the completion begins, see ``responses.prompt.trained_turn``.
    asking: the format of responses, and how prompts are rendered. An example's column
        ``chat_template_kwargs`` goes before its options of the chat template.
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
        self.warns = True
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
        rendered = [self._rendered(example, row) for row, example in enumerate(examples)]
        completions = [example["completion"] for example in rendered]
        batch = dict(self.stock(rendered))
        segment_ids = self._segment_ids(examples, completions, batch)
        batch["segment_ids"] = segment_ids
        batch["labels"] = batch["labels"].masked_fill(segment_ids == OTHER, IGNORE_INDEX)
        self._warn_of_untrained(batch["labels"])
        return batch

    def _warn_of_untrained(self, labels: Tensor) -> None:
        """Once, of rows that change nothing: labels (B, T)."""
        untrained = int((~_trained_rows(labels)).sum()) if self.warns else 0
        if untrained:
            self.warns = False
            which = f"{untrained} of the {len(labels)} rows of a batch (further ones are not told)"
            warnings.warn(nothing_to_train_on(which, self.max_length), stacklevel=2)

    def _rendered(self, example: Example, row: int) -> dict[str, Any]:
        """Prompt and completion as text, and the images: what the stock collator tokenises."""
        images = _images_of(example)
        if not is_conversational(dict(example)):
            texts = {name: example[name] for name in ("prompt", "completion")}
            return {**texts, "images": images}
        prompt = prepare_multimodal_messages(example["prompt"], images=images)
        try:
            turn = trained_turn(
                self.processor,
                self.asking.prompt(prompt, example.get(OPTIONS)),
                prepare_multimodal_messages(example["completion"]),
                begin=self.begin,
            )
        except ValueError as problem:
            raise SegmentError(f"{_name_of(example, row)}: {problem}") from None
        return {**turn._asdict(), "images": [*images_in(prompt)]}

    def _segment_ids(
        self, examples: Sequence[Example], completions: list[str], batch: Batch
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
            segments = token_segments(text, self._spans(example, text, row), offsets)
            segment_ids[row, where] = torch.from_numpy(segments[: len(where)])
        return segment_ids

    def _spans(self, example: Example, text: str, row: int) -> list[tuple[int, int, int]]:
        name = _name_of(example, row)
        if example.get("segments"):
            return spans_from_segments(text, example["segments"], name=name)
        if example.get("spans"):
            return spans_from_characters(text, example["spans"], _response(example), name=name)
        chosen = self.asking.response_format
        return spans_from_format(text, chosen, tag_tokens=self.tag_tokens, name=name)


class EncodedDataset(Dataset):
    """Examples that a ``SegmentCollator`` has prepared, in memory, one dict of tensors each.

    Token keys are (T,) in an example; other keys hold what the example adds to the batch's first
    dimension, such as pixel_values (1, 3, H, W). All examples of a key lie in one tensor.

    columns: key -> the examples' tensors, one after the other along dimension 0.
    offsets: key -> (n + 1,) int64, where each example starts and the last one ends.
    grey: pixel_values keep one channel, to be repeated.
    """

    def __init__(
        self,
        columns: dict[str, Tensor],
        offsets: dict[str, Tensor],
        *,
        grey: bool,
        pad_token_id: int,
    ) -> None:
        self.columns, self.offsets = columns, offsets
        self.grey, self.pad_token_id = grey, pad_token_id
        self._bounds = {key: value.tolist() for key, value in offsets.items()}  # fast to index

    def __len__(self) -> int:
        return len(self.offsets["input_ids"]) - 1

    def __getitem__(self, index: int) -> Batch:
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} out of range of {len(self)} examples")
        example = {
            key: column[self._bounds[key][index] : self._bounds[key][index + 1]]
            for key, column in self.columns.items()
        }
        if self.grey:
            example["pixel_values"] = example["pixel_values"].expand(-1, 3, -1, -1)
        return example

    def lengths(self) -> list[int]:
        """Tokens of each example."""
        return self.offsets["input_ids"].diff().tolist()

    def save(self, path: str | Path) -> None:
        """Write one file, which several processes can map at once."""
        names = ("columns", "offsets", "grey", "pad_token_id")
        torch.save({name: getattr(self, name) for name in names}, path)

    @classmethod
    def load(cls, path: str | Path) -> EncodedDataset:
        """Map a file of ``save``; data is read when it is used."""
        return cls(**torch.load(path, mmap=True, weights_only=True))

    @classmethod
    def concatenate(cls, parts: Sequence[EncodedDataset]) -> EncodedDataset:
        """All examples of the parts, in order. ValueError if they were encoded differently."""
        kinds = {(part.grey, part.pad_token_id, *sorted(part.columns)) for part in parts}
        if len(kinds) != 1:
            raise ValueError(f"cannot join datasets that were encoded differently: {kinds}")
        keys = parts[0].columns
        return cls(
            {key: torch.cat([part.columns[key] for part in parts]) for key in keys},
            {
                key: _offsets([n for part in parts for n in part.offsets[key].diff().tolist()])
                for key in keys
            },
            grey=parts[0].grey,
            pad_token_id=parts[0].pad_token_id,
        )

    @staticmethod
    def stand_in() -> HFDataset:
        """A dataset that passes the checks of TRL, which takes ``datasets.Dataset`` alone."""
        return HFDataset.from_dict({"image": [""], "prompt": [""], "completion": [""]})


def encode_examples(
    examples: Iterable[Example],
    collator: SegmentCollator,
    *,
    batch_size: int = 64,
    progress: Callable[[int], object] | None = None,
) -> EncodedDataset:
    """Run the collator once over all examples and keep what it made.

    progress: called with the number of examples after each ``batch_size`` of them.
    Warns of examples without a token to train on; ValueError where all are such.
    """
    collator.warns = False  # of single batches
    parts: dict[str, list[Tensor]] = defaultdict(list)  # key -> one tensor per example
    iterator = iter(examples)
    while chunk := list(islice(iterator, batch_size)):
        for key, values in _split(collator(chunk), len(chunk)).items():
            parts[key].extend(values)
        if progress is not None:
            progress(len(chunk))
    if not parts:
        raise ValueError("there are no examples to encode")
    trained = sum(bool(_trained_rows(labels[None])) for labels in parts["labels"])
    if trained < len(parts["labels"]):
        which = f"{len(parts['labels']) - trained} of {len(parts['labels'])} examples"
        sentence = nothing_to_train_on(which, collator.max_length)
        if not trained:
            raise ValueError(sentence)
        warnings.warn(sentence, stacklevel=2)
    grey = "pixel_values" in parts and all(_is_grey(part) for part in parts["pixel_values"])
    if grey:  # a grey image needs a third of the memory
        parts["pixel_values"] = [part[:, :1] for part in parts["pixel_values"]]
    return EncodedDataset(
        {key: torch.cat(values) for key, values in parts.items()},
        {key: _offsets([len(value) for value in values]) for key, values in parts.items()},
        grey=grey,
        pad_token_id=collator.processor.tokenizer.pad_token_id,
    )


class PaddingCollator:
    """Pads the examples of an ``EncodedDataset`` on the right into a batch."""

    def __init__(self, pad_token_id: int) -> None:
        self.padding = {**TOKEN_KEYS, "input_ids": pad_token_id}

    def __call__(self, examples: Sequence[Batch]) -> Batch:
        batch = {}
        for key in examples[0]:
            parts = [example[key] for example in examples]
            if key in self.padding:
                batch[key] = torch.nn.utils.rnn.pad_sequence(
                    parts, batch_first=True, padding_value=self.padding[key]
                )
            else:
                batch[key] = torch.cat(parts)
        return batch


def nothing_to_train_on(which: str, max_length: int | None) -> str:
    """The sentence for rows whose labels are all cut off."""
    cause = "" if max_length is None else f": max_length={max_length} ends before their completions"
    return f"{which} have no token to train on{cause}"


def _trained_rows(labels: Tensor) -> Tensor:
    """(B,) whether any token of labels (B, T) is trained on; the first is predicted by nothing."""
    return (labels[:, 1:] != IGNORE_INDEX).any(1)


def _split(batch: Batch, size: int) -> dict[str, list[Tensor]]:
    """Key -> the part of each example, without padding."""
    lengths = batch["attention_mask"].sum(1).tolist()
    parts = {}
    for key, value in batch.items():
        if key in TOKEN_KEYS:
            parts[key] = [row[:length] for row, length in zip(value, lengths, strict=True)]
        else:
            parts[key] = list(value.split(_rows_per_example(key, value, batch, size)))
    return parts


def _rows_per_example(key: str, value: Tensor, batch: Batch, size: int) -> list[int]:
    """How many rows of a key belong to each example; Qwen's pixels have one row per patch."""
    grid = batch.get("image_grid_thw")
    if key == "pixel_values" and grid is not None and len(grid) == size:
        return grid.prod(1).tolist()
    if len(value) != size:
        raise ValueError(
            f"cannot tell which of the {len(value)} rows of {key} belong to which of {size} "
            "examples; encode examples with one image each, or use SegmentCollator directly"
        )
    return [1] * size


def _is_grey(pixels: Tensor) -> bool:
    return pixels.ndim == 4 and pixels.shape[1] == 3 and bool((pixels == pixels[:, :1]).all())


def _offsets(lengths: list[int]) -> Tensor:
    return torch.tensor([0, *accumulate(lengths)])


def _response(example: Example) -> str:
    """What the completion says, as it stands in the data."""
    completion = example["completion"]
    return completion if isinstance(completion, str) else text_of(completion[-1].get("content"))


def _images_of(example: Example) -> list[Any]:
    """Those of either column; none for a row of text."""
    if example.get("images") is not None:
        return list(example["images"])
    return [example["image"]] if example.get("image") is not None else []


def _name_of(example: Example, row: int) -> str:
    return row_name(example, f"example {row} of the batch")
