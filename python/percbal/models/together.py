"""What ranks tell each other, so that none stops alone while the others wait for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


def from_all_ranks(accelerator: Any, items: list[str]) -> list[list[str]]:
    """One list for each rank; to be called on every one of them."""
    if accelerator.num_processes == 1:
        return [items]
    gathered: list[Any] = [None] * accelerator.num_processes
    torch.distributed.all_gather_object(gathered, items)
    return gathered


@contextmanager
def refused_together(accelerator: Any) -> Iterator[None]:
    """What is raised inside on one rank ends all of them; to be entered on every one.

    The rank itself raises what it raised, the others RuntimeError with its number and sentence.
    Nothing inside may be collective.
    """
    error: Exception | None = None
    try:
        yield
    except Exception as raised:
        error = raised
    said = from_all_ranks(accelerator, [] if error is None else [str(error)])
    if error is not None:
        raise error
    for rank, sentences in enumerate(said):
        if sentences:
            raise RuntimeError(f"rank {rank}: {sentences[0]}")
