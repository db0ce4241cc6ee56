"""Tries every row of a data set by the very path of training, in several processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm
from transformers import ProcessorMixin
from trl.data_utils import prepare_multimodal_messages

from percbal.data.check import Pieces, TriedRow
from percbal.data.rows import PLACE
from percbal.responses.asking import Asking
from percbal.responses.prompt import OPTIONS, prompt_ids
from percbal.segments.names import TWO, Segments
from percbal.sft.collate import IGNORE_INDEX

Batch = Mapping[str, torch.Tensor]
Encode = Callable[[list[Any]], Batch]  # of examples

CHUNK = 8  # rows that a process tries before it reports
MOST_PROCESSES = 8
FEW = 64  # rows that no further process is started for
REPEATS = 4  # more of one token after the other are shown as a number, as those of an image


def encode_prompts(processor: ProcessorMixin, asking: Asking | None = None) -> Encode:
    """The prompts alone, as reinforcement asks them; there is nothing to train on yet."""
    how = asking or Asking()

    def encode(examples: list[Any]) -> Batch:
        prompts = [
            how.prompt(
                prepare_multimodal_messages(example["prompt"], images=example["images"]),
                example.get(OPTIONS),
            )
            for example in examples
        ]
        return {"input_ids": torch.tensor(prompt_ids(processor, prompts).ids)}

    return encode


def tried_rows(
    data: Any,
    encode: Encode,
    processor: ProcessorMixin,
    *,
    max_length: int | None = None,
    shown: int = 0,
    processes: int | None = None,
    progress: bool = True,
) -> Iterator[TriedRow]:
    """What becomes of every row when it is encoded, in their order.

    encode: a ``SegmentCollator`` without max_length, or `encode_prompts`.
    shown: of how many rows to keep the texts.
    processes: default as many as there are processors, up to `MOST_PROCESSES`; 0 for this one.
    """
    if processes is None:
        processes = min(os.cpu_count() or 1, MOST_PROCESSES) if len(data) > FEW else 0
    every = -(-len(data) // shown) if shown else 0
    rows = _Rows(data, encode, processor, max_length, every)
    loader: Any = DataLoader(rows, batch_size=CHUNK, collate_fn=list, num_workers=processes)
    with tqdm(total=len(data), desc="check", unit="row", disable=not progress) as bar:
        for chunk in loader:
            yield from chunk
            bar.update(len(chunk))


class _Rows(Dataset):
    """Row number -> what became of it; never an error."""

    def __init__(
        self,
        data: Any,
        encode: Encode,
        processor: ProcessorMixin,
        max_length: int | None,
        every: int,
    ) -> None:
        self.data, self.encode, self.processor = data, encode, processor
        self.max_length, self.every = max_length, every
        self.named = getattr(encode, "segments", TWO)
        known = PLACE in data.column_names  # asked without opening a picture
        self.places = data.with_format(None).select_columns([PLACE]) if known else None

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, i: int) -> TriedRow:
        place = self.places[i][PLACE] if self.places is not None else f"row {i + 1}"
        try:
            return self._tried(place, self.data[i], shown=bool(self.every) and i % self.every == 0)
        except ValueError as problem:
            said = str(problem).removeprefix(place).removeprefix(":").strip()
        except Exception as problem:  # of a processor, which nobody foresaw
            said = f"{type(problem).__name__}: {problem}"
        return TriedRow(place, " ".join(said.split()) or "an error without a text")

    def _tried(self, place: str, example: Mapping[str, Any], *, shown: bool) -> TriedRow:
        batch = self.encode([example])
        ids = batch["input_ids"][0]
        if "attention_mask" in batch:
            ids = ids[batch["attention_mask"][0].bool()]
        row = TriedRow(place, tokens=len(ids), images=[i.size for i in example["images"]])
        kinds = ["prompt"] * len(ids)
        if "segment_ids" in batch:
            segments = batch["segment_ids"][0][: len(ids)]
            labels = batch["labels"][0][: len(ids)] != IGNORE_INDEX
            for number, name in enumerate(self.named.names):
                row.segments[name] = int((labels & (segments == number)).sum())
            prompt = self.named.prompt
            of_response = labels if prompt is None else labels & (segments != prompt)
            row.trained = int(of_response[1 : self.max_length].sum())
            kinds = _kinds(segments.tolist(), self.named)
        if shown:
            row.pieces = _pieces(self.processor.tokenizer, ids.tolist(), kinds)
        return row


def _kinds(segments: list[int], named: Segments) -> list[str]:
    """The segment of each token; of those in none, whether they stand before the response."""
    of_response = (i for i, s in enumerate(segments) if s >= 0 and s != named.prompt)
    begin = next(of_response, len(segments))
    return [
        named.names[s] if s >= 0 else "prompt" if i < begin else "other"
        for i, s in enumerate(segments)
    ]


def _pieces(tokenizer: Any, ids: list[int], kinds: list[str]) -> Pieces:
    pieces: Pieces = []
    for kind, group in groupby(zip(kinds, ids, strict=True), key=lambda pair: pair[0]):
        pieces.append((kind, _text(tokenizer, [token for _, token in group])))
    return pieces


def _text(tokenizer: Any, ids: list[int]) -> str:
    """Decoded; a token that repeats many times, as an image's, is counted."""
    text, plain = "", []
    for token, run in groupby(ids):
        n = len(list(run))
        if n <= REPEATS:
            plain += [token] * n
            continue
        text += tokenizer.decode(plain) + f"[{n} x {tokenizer.decode([token])}]"
        plain = []
    return text + tokenizer.decode(plain)
