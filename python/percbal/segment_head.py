"""The segment loss from hidden states, behind a call of the model itself.

``model(..., segment_losses=SegmentLosses(..))`` returns losses in place of logits, which then never
exist as a whole.
"""

from __future__ import annotations

import functools
import types
from typing import Any, NamedTuple

from torch import Tensor
from transformers import PreTrainedModel

from percbal.output_head import whole_head
from percbal_ops import SegmentOutput, linear_segment_cross_entropy, segment_cross_entropy


class SegmentLosses(NamedTuple):
    """Which losses are wanted of a forward pass over (B, T) tokens."""

    segment_ids: Tensor  # (B, T), shifted like the targets
    counts: Tensor  # (S,) tokens of each segment in the whole batch
    asked: list[tuple[Tensor, Tensor]]  # for each loss its targets (B, T) and weights (S,)

    def of_logits(self, logits: Tensor, i: int) -> SegmentOutput:
        """Loss ``i`` from logits (B, T, V)."""
        target, weights = self.asked[i]
        return segment_cross_entropy(
            logits, target, self.segment_ids, weights, segment_counts=self.counts
        )

    def of_hidden(
        self, hidden: Tensor, weight: Tensor, bias: Tensor | None, softcap: float | None
    ) -> list[SegmentOutput]:
        """All losses from hidden states (B, T, D) and the head (V, D)."""
        return [
            linear_segment_cross_entropy(
                hidden,
                weight,
                target,
                self.segment_ids,
                weights,
                bias=bias,
                segment_counts=self.counts,
                softcap=softcap,
            )
            for target, weights in self.asked
        ]


def use_segment_losses(model: PreTrainedModel) -> None:
    """Answer ``model(..., segment_losses=..)`` by the losses; every other call stays as it is."""
    original = model.forward
    softcap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)

    @functools.wraps(type(model).forward)
    def forward(self: Any, *args: Any, segment_losses: Any = None, **kwargs: Any) -> Any:
        if segment_losses is None:
            return original(*args, **kwargs)
        hidden = self.base_model(*args, **kwargs).last_hidden_state  # (B, T, D)
        with whole_head(self) as (weight, bias):
            return segment_losses.of_hidden(hidden, weight, bias, softcap)

    model.forward = types.MethodType(forward, model)  # type: ignore[method-assign]
