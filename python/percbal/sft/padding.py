"""What fills a batch on the right: the token that pads, and up to which length."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from percbal.segments.names import OTHER

IGNORE_INDEX = -100
# Keys with one entry per token, and what they are padded with (the tokenizer's id for input_ids).
TOKEN_KEYS = {
    "input_ids": 0,
    "attention_mask": 0,
    "labels": IGNORE_INDEX,
    "segment_ids": OTHER,
    "token_type_ids": 0,
    "mm_token_type_ids": 0,
}


def use_pad_token(tokenizer: Any, named: str | None = None) -> int:
    """The id of the token that pads, which the tokenizer has from now on, as under stock TRL.

    It is the one that is named, else the tokenizer's own, else its end of text. Raises ValueError
    for one that is not in the vocabulary, and where there is none of the three.
    """
    token = named or tokenizer.pad_token or tokenizer.eos_token
    if token is None:
        raise ValueError(
            f"{type(tokenizer).__name__} has no padding token and no end of text: set pad_token"
        )
    if token != tokenizer.pad_token:
        if token not in tokenizer.get_vocab():
            raise ValueError(
                f"pad_token={token!r} is not in the vocabulary of {type(tokenizer).__name__}"
            )
        tokenizer.pad_token = token
    return int(tokenizer.pad_token_id)


def agree_on_padding(model: Any, tokenizer: Any) -> None:
    """The model's configurations name the tokenizer's padding token, too."""
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id


class Padding:
    """What each key of a batch is padded with, and up to which length.

    multiple: ``pad_to_multiple_of``, at least 1; None for as long as the longest row.
    """

    def __init__(self, pad_token_id: int, multiple: int | None = None) -> None:
        if multiple is not None and multiple < 1:
            raise ValueError(f"pad_to_multiple_of must be at least 1, got {multiple}")
        self.values = {**TOKEN_KEYS, "input_ids": pad_token_id}
        self.multiple = multiple or 1

    def fill(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The batch with every (B, T) of a token key longer on the right, if need be."""
        more = -batch["input_ids"].shape[1] % self.multiple
        if not more:
            return batch
        return {
            key: torch.nn.functional.pad(value, (0, more), value=self.values[key])
            if key in self.values
            else value
            for key, value in batch.items()
        }
