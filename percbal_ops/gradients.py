"""What the backward of an operator returns: one gradient, or None, for each input."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor


def padded(ctx: Any, gradients: Iterable[Tensor | None] = ()) -> tuple[Tensor | None, ...]:
    """The gradients of an operator's first inputs, and None for all that follow."""
    given = tuple(gradients)
    return given + (None,) * (len(ctx.needs_input_grad) - len(given))
