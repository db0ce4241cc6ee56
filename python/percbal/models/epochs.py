"""The epoch of a sampler whose order is a function of it, however deep accelerate wraps it."""

from __future__ import annotations

from typing import Any


def set_epoch(loader: Any, epoch: int) -> None:
    """Tell every sampler below a data loader which epoch begins.

    accelerate and the Trainer reach some depths. On several processes one of their wrappers more
    is around the sampler of an epoch that a resumed run begins in the middle.
    """
    part = loader
    while (part := _inside(part)) is not None:
        if hasattr(part, "set_epoch"):
            part.set_epoch(epoch)


def _inside(part: Any) -> Any:
    inner = getattr(part, "batch_sampler", None)
    return getattr(part, "sampler", None) if inner is None else inner
