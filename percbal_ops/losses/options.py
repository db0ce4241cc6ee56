"""The options of a loss: one object above the operators, five arguments in their schemas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

# Field by field what LossOptions holds: a caller gives an operator `*options`.
OPTIONS = "Tensor? weight, int ignore_index, float label_smoothing, float z_loss, float softcap"


class LossOptions(NamedTuple):
    class_weight: Tensor | None = None  # w (V,); None: all 1
    ignore_index: int = -100
    label_smoothing: float = 0.0  # eps
    z_loss: float = 0.0  # zeta
    softcap: float = 0.0  # c; 0: none

    @property
    def numbers(self) -> tuple[int, float, float, float]:
        """All but the tensor, which autograd wants to save itself."""
        return self[1:]


def packed(flat: Sequence[Any]) -> tuple[Any, ...]:
    """An operator's arguments from OPTIONS on -> (LossOptions, *those after them)."""
    count = len(LossOptions._fields)
    return LossOptions(*flat[:count]), *flat[count:]
