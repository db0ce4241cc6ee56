"""A verdict turned over by chance: a reward that correlates with the truth as much as one wants."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from percbal.rewards.texts import completion_text

Rewards = list[float | None]


def flipped(reward: Callable[..., Rewards], share: float, seed: int = 0) -> Callable[..., Rewards]:
    """``reward``, whose verdicts are 0 or 1, with each turned over by the chance ``share``.

    Verdicts that are 1 with the chance p are 1 with q = p + share - 2 share p afterwards, and the
    two correlate by ``(1 - 2 share) sqrt(p (1 - p) / (q (1 - q)))``. Which are flipped depends on
    the seed, the place in the batch, the completion and the column ``truth`` alone: siblings that
    say the same are flipped independently, and a run that resumes flips as before. The name is
    ``flipped_`` and the reward's. Raises ValueError for a share outside [0, 1], and for a value
    other than 0, 1 and None.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must be in [0, 1], got {share}")

    def noisy(completions: Sequence[Any], **columns: Any) -> Rewards:
        values = reward(completions, **columns)
        truths = columns.get("truth") or [None] * len(values)
        out: Rewards = []
        for place, (value, said, truth) in enumerate(zip(values, completions, truths, strict=True)):
            if value not in (0, 1, None):
                raise ValueError(f"only verdicts, 0 or 1, can be flipped, got {value!r}")
            turned = _draw(seed, place, completion_text(said), truth) < share
            out.append(1 - value if turned and value is not None else value)
        return out

    noisy.__name__ = f"flipped_{getattr(reward, '__name__', 'reward')}"
    return noisy


def _draw(*what: Any) -> float:
    """Uniform in [0, 1), by what it is drawn for alone."""
    digest = hashlib.sha256(repr(what).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
