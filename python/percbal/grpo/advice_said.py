"""Says in a sentence what the rule advises, where that is new: docs/theory.md."""

from __future__ import annotations

import logging

from percbal.objective.advice import UNKNOWN, Advice

logger = logging.getLogger(__name__)


class AdviceSaid:
    """Speaks when the verdict changes, and only of one that holds over the interval of r."""

    def __init__(self) -> None:
        self.verdict = UNKNOWN
        self.warned = False

    def look(self, advice: Advice | None) -> None:
        """advice: of the rollouts since the last log."""
        if advice is None:
            return
        if advice.holds and advice.verdict != self.verdict:
            self.verdict = advice.verdict
            logger.warning("%s (docs/theory.md)", advice.sentences[0])
        if not self.warned and advice.agreement is not None:
            self.warned = True
            logger.warning("%s (docs/theory.md)", advice.agreement)
