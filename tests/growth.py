"""How the time of a reader grows with its text."""

from __future__ import annotations

import time
from collections.abc import Callable


def is_linear(read: Callable[[str], object], text: Callable[[int], str], n: int = 4000) -> bool:
    """Whether four times the text takes about four times the time: sixteen would be quadratic.

    text: a text of about so many characters.
    """
    seconds = []
    for length in (n, 4 * n):
        said = text(length)
        begin = time.perf_counter()
        read(said)
        seconds.append(time.perf_counter() - begin)
    return seconds[1] < 0.1 or seconds[1] < 9 * seconds[0]
