"""Scores of what completions say they perceive, a batch of strings at a time.

May import: torch, numpy, the compiled `_text`. Never: losses, linear, coupling.
"""

from percbal_ops.text.api import DEFAULT_TAGS, GRAMMARS, SPANS, STATUS, TextScores, score_text

__all__ = ["DEFAULT_TAGS", "GRAMMARS", "SPANS", "STATUS", "TextScores", "score_text"]
