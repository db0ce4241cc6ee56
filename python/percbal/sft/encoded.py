"""Data that fits in memory, encoded once: what a ``SegmentCollator`` makes, example by example."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset as HFDataset
from torch import Tensor
from torch.utils.data import Dataset

from percbal.segments.names import TWO
from percbal.sft.collate import (
    Batch,
    Example,
    SegmentCollator,
    image_count,
    nothing_to_train_on,
    trained_rows,
)
from percbal.sft.padding import TOKEN_KEYS, Padding, use_pad_token


class EncodedDataset(Dataset):
    """Examples that a ``SegmentCollator`` has prepared, in memory, one dict of tensors each.

    Token keys are (T,) in an example; other keys hold what the example adds to the batch's first
    dimension, such as pixel_values (1, 3, H, W). All examples of a key lie in one tensor.

    columns: key -> the examples' tensors, one after the other along dimension 0.
    offsets: key -> (n + 1,) int64, where each example starts and the last one ends.
    grey: pixel_values keep one channel, to be repeated.
    segments: the names of the segments, in the order of their ids.
    """

    def __init__(
        self,
        columns: dict[str, Tensor],
        offsets: dict[str, Tensor],
        *,
        grey: bool,
        pad_token_id: int,
        segments: tuple[str, ...] = TWO.names,
    ) -> None:
        self.columns, self.offsets = columns, offsets
        self.grey, self.pad_token_id, self.segments = grey, pad_token_id, segments
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
        names = ("columns", "offsets", "grey", "pad_token_id", "segments")
        torch.save({name: getattr(self, name) for name in names}, path)

    @classmethod
    def load(cls, path: str | Path) -> EncodedDataset:
        """Map a file of ``save``; data is read when it is used."""
        return cls(**torch.load(path, mmap=True, weights_only=True))

    @classmethod
    def concatenate(cls, parts: Sequence[EncodedDataset]) -> EncodedDataset:
        """All examples of the parts, in order. ValueError if they were encoded differently."""
        kinds = {
            (part.grey, part.pad_token_id, part.segments, *sorted(part.columns)) for part in parts
        }
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
            segments=parts[0].segments,
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
    encoded: list[Batch] = []
    iterator = iter(examples)
    while chunk := list(islice(iterator, batch_size)):
        encoded += _encoded(chunk, collator)
        if progress is not None:
            progress(len(chunk))
    if not encoded:
        raise ValueError("there are no examples to encode")
    prompt = collator.segments.prompt
    trained = sum(
        bool(trained_rows(example["labels"][None], example["segment_ids"][None], prompt))
        for example in encoded
    )
    if trained < len(encoded):
        which = f"{len(encoded) - trained} of {len(encoded)} examples"
        sentence = nothing_to_train_on(which, collator.max_length, prompt)
        if not trained:
            raise ValueError(sentence)
        warnings.warn(sentence, stacklevel=2)
    columns = _columns(encoded)
    pixels = columns.get("pixel_values", [])
    grey = bool(pixels) and all(_is_grey(part) for part in pixels)
    if grey:  # a grey image needs a third of the memory
        columns["pixel_values"] = [part[:, :1] for part in pixels]
    return EncodedDataset(
        {key: torch.cat(values) for key, values in columns.items()},
        {key: _offsets([len(value) for value in values]) for key, values in columns.items()},
        grey=grey,
        pad_token_id=collator.processor.tokenizer.pad_token_id,
        segments=collator.segments.names,
    )


class PaddingCollator:
    """Pads the examples of an ``EncodedDataset`` on the right into a batch (B, T).

    pad_to_multiple_of: T is a multiple of it; None for as long as the longest example.
    """

    def __init__(self, pad_token_id: int, pad_to_multiple_of: int | None = None) -> None:
        self.padding = Padding(pad_token_id, pad_to_multiple_of)

    def __call__(self, examples: Sequence[Batch]) -> Batch:
        batch: Batch = {}
        values = self.padding.values
        for key in examples[0]:
            parts = [example[key] for example in examples]
            if key in values:
                batch[key] = torch.nn.utils.rnn.pad_sequence(
                    parts, batch_first=True, padding_value=values[key]
                )
            elif sum(map(len, parts)):  # else no example has an image
                batch[key] = torch.cat(parts)
        return self.padding.fill(batch)


def default_collator(args: Any, data: Any, processor: Any) -> PaddingCollator | SegmentCollator:
    """For encoded data or raw examples, by the options of a ``BalancedSFTConfig``."""
    if not isinstance(data, EncodedDataset):
        return args.make_collator(processor)
    named = use_pad_token(processor.tokenizer, args.pad_token)
    return PaddingCollator(named if args.pad_token else data.pad_token_id, args.pad_to_multiple_of)


def _encoded(examples: list[Example], collator: SegmentCollator) -> list[Batch]:
    """Each example without padding, encoded one by one where a batch cannot be told apart."""
    try:
        if any(image_count(example) != 1 for example in examples):
            raise _Inseparable
        return _split(collator(examples), len(examples))
    except _Inseparable:
        return [_split(collator([example]), 1)[0] for example in examples]


class _Inseparable(Exception):
    """Nothing says which rows of a batch belong to which example."""


def _split(batch: Batch, size: int) -> list[Batch]:
    """The part of each example, without padding."""
    lengths = batch["attention_mask"].sum(1).tolist()
    parts: list[Batch] = [{} for _ in range(size)]
    for key, value in batch.items():
        if key in TOKEN_KEYS:
            rows = [row[:length] for row, length in zip(value, lengths, strict=True)]
        else:
            rows = list(value.split(_rows_per_example(key, value, batch, size)))
        for part, row in zip(parts, rows, strict=True):
            part[key] = row
    return parts


def _rows_per_example(key: str, value: Tensor, batch: Batch, size: int) -> list[int]:
    """How many rows of a key belong to each example; Qwen's pixels have one row per patch."""
    grid = batch.get("image_grid_thw")
    if key == "pixel_values" and grid is not None and len(grid) == size:
        return grid.prod(1).tolist()
    if size == 1 or len(value) == size:
        return [len(value) // size] * size
    raise _Inseparable


def _columns(encoded: list[Batch]) -> dict[str, list[Tensor]]:
    """Key -> one tensor per example, empty where it has no such key, as text has no pixels."""
    first = {key: value for example in encoded for key, value in example.items()}
    columns = {
        key: [example.get(key, value[:0]) for example in encoded] for key, value in first.items()
    }
    for key, parts in columns.items():
        shapes = sorted({tuple(part.shape[1:]) for part in parts})
        if len(shapes) > 1:
            raise ValueError(
                f"{key} of the examples have the shapes {shapes[0]} and {shapes[1]}, which cannot "
                "be kept together; give the trainer the examples, which it encodes batch by batch"
            )
    return columns


def _is_grey(pixels: Tensor) -> bool:
    return pixels.ndim == 4 and pixels.shape[1] == 3 and bool((pixels == pixels[:, :1]).all())


def _offsets(lengths: list[int]) -> Tensor:
    return torch.tensor([0, *accumulate(lengths)])
