"""Prompts of several lengths as one batch of tensors, padded on the left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

Ids = Sequence[int]
PER_TOKEN = ("token_type_ids", "mm_token_type_ids")  # fields with one value for each prompt token


def left_padded(rows: Sequence[Ids], value: int) -> Tensor:
    """(B, T) int64, T the longest row."""
    width = max(len(row) for row in rows)
    return torch.tensor([[value] * (width - len(row)) + list(row) for row in rows])


def model_inputs(
    ids: Sequence[Ids],
    fields: Mapping[str, Any],
    pad_token_id: int,
    given: Sequence[Ids] | None = None,
) -> dict[str, Tensor]:
    """What a model takes: ``input_ids`` and ``attention_mask`` (B, T), and the processor's fields.

    ids: of each prompt. fields: what else the processor made for these prompts.
    given: ids behind each prompt, with which its response begins; they are text.
    """
    behind = [[] for _ in ids] if given is None else given
    rows = [[*prompt, *more] for prompt, more in zip(ids, behind, strict=True)]
    inputs = {
        "input_ids": left_padded(rows, pad_token_id),
        "attention_mask": left_padded([[1] * len(row) for row in rows], 0),
    }
    for name, field in fields.items():
        if name in PER_TOKEN:
            types = [[*row, *[0] * len(more)] for row, more in zip(field, behind, strict=True)]
            inputs[name] = left_padded([[int(t) for t in row] for row in types], 0)
        elif field is not None:
            inputs[name] = field if isinstance(field, Tensor) else torch.as_tensor(np.array(field))
    return inputs
