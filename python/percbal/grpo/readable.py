"""Says so when a policy does not know the format: its first rollouts have nothing to reward."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable

logger = logging.getLogger(__name__)
BATCHES = 3


class ReadableFromTheStart:
    """Looks at the first batches of a run, and says one sentence if none can be read."""

    def __init__(self) -> None:
        self._seen = 0
        self._reasons: dict[str, int] = {}

    def look(self, parse_fail: float, reasons: dict[str, int]) -> None:
        """parse_fail: the share of a batch's rollouts without a perception that counts."""
        if self._seen >= BATCHES:
            return
        if parse_fail < 1.0:
            self._seen = BATCHES
            return
        self._seen += 1
        for reason, count in reasons.items():
            self._reasons[reason] = self._reasons.get(reason, 0) + count
        if self._seen == BATCHES:
            why = ", ".join(f"{reason} {count}" for reason, count in self._reasons.items())
            logger.warning(
                "no rollout of the first %d batches has a perception that counts (%s), so nothing "
                "is learned from it: the model does not know the format. State it "
                "(state_format), show it (format_examples), or fine-tune on it first "
                "(docs/formats.md)",
                BATCHES,
                why,
            )


class Unreadable:
    """Why parts of rollouts do not count, over all rollouts of all ranks since it was asked."""

    def __init__(self) -> None:
        self.last: dict[str, int] = {}  # of the last batch
        self._counts: Counter[str] = Counter()
        self._rollouts = 0

    def add(self, reasons: Iterable[dict[str, int]], rollouts: int) -> None:
        """reasons: of each rank, such as ``{"perception missing": 3}``."""
        batch: Counter[str] = Counter()
        for counts in reasons:
            batch.update(counts)
        self.last = dict(batch)
        self._counts += batch
        self._rollouts += rollouts

    def drain(self) -> dict[str, float]:
        """Name in the logs -> share of rollouts, and begin anew."""
        shares = {
            f"unreadable/{reason.replace(' ', '_')}": count / self._rollouts
            for reason, count in self._counts.items()
        }
        self._counts, self._rollouts = Counter(), 0
        return shares
