"""A batch's next-token targets, counts and losses by segment."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from percbal.segments.names import TWO
from percbal.sft.collate import IGNORE_INDEX
from percbal_ops import SegmentOutput


def segment_counts(labels: Tensor, segment_ids: Tensor, n: int = len(TWO)) -> Tensor:
    """Tokens that each of n segments is trained on: (n,) int64, labels and segment_ids (B, T).

    The first token of a sequence is predicted by nothing and does not count.
    """
    trained = (labels[:, 1:] != IGNORE_INDEX) & (segment_ids[:, 1:] >= 0)
    ids = torch.where(trained, segment_ids[:, 1:], n).reshape(-1)
    return torch.stack([(ids == segment).sum() for segment in range(n)])


def each_alone(target: Tensor, segment_ids: Tensor, n: int) -> list[tuple[Tensor, Tensor]]:
    """Targets (B, T) and weights (n,) of the mean loss of each segment without the others."""
    weights = torch.eye(n, device=target.device)
    return [
        (target.masked_fill(segment_ids != segment, IGNORE_INDEX), weights[segment])
        for segment in range(n)
    ]


def shifted(inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Next-token targets and their segments, (B, T) both.

    The targets are shifted, not the logits: a slice of the logits would be a copy.
    """
    return _shift_left(inputs["labels"], IGNORE_INDEX), _shift_left(inputs["segment_ids"], -1)


def _shift_left(values: Tensor, last: int) -> Tensor:
    """(B, T) moved one token to the left; ``last`` fills the end."""
    return torch.cat((values[:, 1:], values.new_full((len(values), 1), last)), dim=1)


def joined(results: list[SegmentOutput]) -> SegmentOutput:
    """One output, its loss (S,), from those of each segment alone, whose other entries are 0."""
    loss, count, norm = (
        torch.stack([getattr(result, name)[i] for i, result in enumerate(results)])
        for name in ("segment_loss", "segment_count", "segment_grad_norm")
    )
    return SegmentOutput(torch.stack([result.loss for result in results]), loss, count, norm)
