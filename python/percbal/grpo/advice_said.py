"""Says in a sentence what the rule advises, where that is new: docs/theory.md."""

from __future__ import annotations

import logging

from percbal.objective.advice import UNKNOWN, Advice

logger = logging.getLogger(__name__)
REPEATED = 3  # looks one after another that say the same


class AdviceSaid:
    """Speaks when the verdict changes, of one that holds over the interval of r, look after look:
    of many looks some are wrong by chance."""

    def __init__(self) -> None:
        self.verdict = UNKNOWN  # said last
        self.warned = False
        self._seen, self._times, self._warnings = UNKNOWN, 0, 0

    def look(self, advice: Advice | None) -> None:
        """advice: of rollouts that no other look has seen; None where there are too few so far."""
        if advice is None:
            return
        seen = advice.verdict if advice.holds else UNKNOWN
        self._times = self._times + 1 if seen == self._seen else 1
        self._seen = seen
        if seen not in (UNKNOWN, self.verdict) and self._times >= REPEATED:
            self.verdict = seen
            logger.warning("%s (docs/theory.md)", advice.sentences[0])
        self._warnings = 0 if advice.agreement is None else self._warnings + 1
        if self._warnings >= REPEATED and not self.warned:
            self.warned = True
            logger.warning("%s (docs/theory.md)", advice.agreement)
