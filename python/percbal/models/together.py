"""What ranks tell each other, so that none stops alone while the others wait for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from accelerate.utils import gather_object


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
    said = gather_object([] if error is None else [f"rank {accelerator.process_index}: {error}"])
    if error is not None:
        raise error
    if said:
        raise RuntimeError(said[0])
