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

from percbal.models.output_head import final_softcap, whole_head
from percbal_ops import SegmentOutput, linear_segment_cross_entropy, segment_cross_entropy


class SegmentLosses:
    """Which losses are wanted of a forward pass over (B, T) tokens, and afterwards the losses.

    No tuple and no dataclass: FSDP2 would cast what is in them to its compute dtype.

    segment_ids: (B, T), shifted like the targets.
    counts: (S,) tokens of each segment in the whole batch.
    asked: for each loss its targets (B, T) and weights (S,).
    level: from hidden states, what the norms are the gradients with respect to.
    scale: a factor of the losses to differentiate. It goes into the weights, since the operators
        have finished a gradient before a factor on their loss could reach it.
    """

    def __init__(
        self,
        segment_ids: Tensor,
        counts: Tensor,
        asked: list[tuple[Tensor, Tensor]],
        level: str = "logits",
        scale: int = 1,
    ) -> None:
        self.segment_ids, self.counts, self.asked, self.level = segment_ids, counts, asked, level
        self.scale = scale
        self.results: list[SegmentOutput] = []  # in float32, also where the model returns less

    def of_logits(self, logits: Tensor, i: int) -> SegmentOutput:
        """Loss ``i`` from logits (B, T, V)."""
        target, weights = self.asked[i]
        return segment_cross_entropy(
            logits, target, self.segment_ids, self.scale * weights, segment_counts=self.counts
        )

    def of_hidden(
        self, hidden: Tensor, weight: Tensor, bias: Tensor | None, softcap: float | None
    ) -> None:
        """All losses from hidden states (B, T, D) and the head (V, D)."""
        device = weight.device  # another than the hidden states' under a device_map
        self.results = [
            linear_segment_cross_entropy(
                hidden.to(device),
                weight,
                target.to(device),
                self.segment_ids.to(device),
                self.scale * weights.to(device),
                bias=bias,
                grad_norm=self.level,
                segment_counts=self.counts.to(device),
                softcap=softcap,
            )
            for target, weights in self.asked
        ]


class ForwardPass(NamedTuple):
    """What the model returned when it was asked for these losses."""

    losses: SegmentLosses
    outputs: Any  # with logits (B, T, V), or a list of () losses to differentiate

    @property
    def logits(self) -> Tensor | None:
        return getattr(self.outputs, "logits", None)

    def loss(self, i: int) -> SegmentOutput:
        if self.logits is not None:
            return self.losses.of_logits(self.logits, i)
        return self.losses.results[i]._replace(loss=self.outputs[i])


def use_segment_losses(model: PreTrainedModel) -> None:
    """Let ``model(..., segment_losses=..)`` fill in and return the losses, a list of ().

    Every other call stays as it is.
    """
    original = model.forward
    softcap = final_softcap(model)

    @functools.wraps(type(model).forward)  # generate validates its arguments by this signature
    def forward(self: Any, *args: Any, segment_losses: Any = None, **kwargs: Any) -> Any:
        if segment_losses is None:
            return original(*args, **kwargs)
        hidden = self.base_model(*args, **kwargs).last_hidden_state  # (B, T, D)
        with whole_head(self) as (weight, bias):
            segment_losses.of_hidden(hidden, weight, bias, softcap)
        return [result.loss for result in segment_losses.results]

    model.forward = types.MethodType(forward, model)  # type: ignore[method-assign]
