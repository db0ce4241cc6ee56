"""Where the thoughts of a thinking model end and its response begins.

The rule: everything up to and with the first ``</think>`` is thought. A text that begins with
``<think>`` and never closes it is all thought. Thoughts are reasoning, whatever stands in them;
spans are looked for behind them.
"""

from __future__ import annotations

OPENING, CLOSING = "<think>", "</think>"


def response_start(text: str) -> int:
    """The character at which the response begins, behind the thoughts; 0 where there are none."""
    end = text.find(CLOSING)
    if end >= 0:
        return end + len(CLOSING)
    return len(text) if text.lstrip().startswith(OPENING) else 0


def without_thoughts(text: str) -> str:
    """What is said behind the thoughts."""
    return text[response_start(text) :]


def opens_thoughts(prompt: str) -> bool:
    """Whether a rendered prompt ends inside a block of thoughts."""
    return prompt.rstrip().endswith(OPENING)
