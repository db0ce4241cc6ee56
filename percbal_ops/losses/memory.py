"""The memory that the CPU operators keep between calls."""

from __future__ import annotations

import torch

from percbal_ops.losses import library  # noqa: F401  defines torch.ops.percbal


def empty_cache() -> int:
    """Give back to the system the memory kept for the next gradient; returns its size in bytes.

    On Linux, a CPU loss whose gradient takes 8 MiB or more keeps that memory when the gradient is
    freed, and writes the next gradient into it: fresh memory costs more than the loss. It keeps one
    block per process, the largest so far. While the block waits, the system may take its pages
    whenever it is short of memory; until it does, they count as resident. A forked child does not
    inherit them.

    Such a gradient is a tensor like any other, but its storage cannot be resized: as for a tensor
    from ``torch.from_numpy``, ``resize_`` to more elements and ``untyped_storage().resize_`` raise.
    PERCBAL_KEEP_MEMORY=0 in the environment, read once, turns all this off.
    """
    return torch.ops.percbal.empty_cache()
