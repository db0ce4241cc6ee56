"""Which error a response has: in what it perceived, in how it reasoned, in both, or in its format.

docs/diagnose.md states the rule.
"""

from __future__ import annotations

from percbal.evaluate.names import BOTH, FORMAT, PERCEPTION, REASONING, RIGHT, UNCLEAR
from percbal.tasks.base import Score, find_spans


def error_of(text: str, seen: Score, told: bool | None) -> str:
    """The one of `percbal.evaluate.names.ERRORS` that a response from the image has.

    text, seen: the response in the default tags, and its score.
    told: whether the answer was right when the response began with the true perception; None where
        that was not asked.
    """
    if seen.answer is True:
        return RIGHT
    if seen.answer is None or seen.perception is None or _malformed(text, seen):
        return FORMAT
    if seen.perception:
        return REASONING
    if seen.reasoning or told:
        return PERCEPTION
    return UNCLEAR if seen.reasoning is None and told is None else BOTH


def _malformed(text: str, seen: Score) -> bool:
    """Whether there is a reason that is none of the reasoning's own tags, which nothing reads."""
    return bool({*seen.reason.split("; ")} - {"", find_spans(text).problem("reasoning")})
