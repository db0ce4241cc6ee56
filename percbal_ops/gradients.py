"""What the backward of an operator returns: one gradient, or None, for each input.

Operators finish a gradient in their forward pass. It is kept as an attribute of the graph's node,
so that the first backward may scale it in place and give it away, which a tensor that the graph
has saved does not allow.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


def padded(ctx: Any, gradients: Iterable[Tensor | None] = ()) -> tuple[Tensor | None, ...]:
    """The gradients of an operator's first inputs, and None for all that follow."""
    given = tuple(gradients)
    return given + (None,) * (len(ctx.needs_input_grad) - len(given))


def saved_by_hooks() -> bool:
    """Whether hooks decide what becomes of saved tensors, as those of ``torch.utils.checkpoint``
    and ``save_on_cpu`` do. A finished gradient is then saved as they want it, too."""
    top = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
    return top is not None and top(False) is not None


def scaled(gradient: Tensor, factor: Tensor, *, in_place: bool) -> Tensor:
    """A finished gradient times its upstream (), in place unless it is traced, when a compiled
    graph must not write over what its forward returned, or there is a batch of upstreams."""
    if not in_place or type(gradient) is not Tensor or _is_batch(factor):
        return (gradient * factor).to(gradient.dtype)
    torch.ops.percbal.scale_(gradient, factor)
    return gradient


def _is_batch(x: Tensor) -> bool:
    """Under vmap, or under the older one of ``torch.autograd.grad(.., is_grads_batched=True)``."""
    functorch = torch._C._functorch
    return functorch.is_batchedtensor(x) or functorch.is_legacy_batchedtensor(x)
