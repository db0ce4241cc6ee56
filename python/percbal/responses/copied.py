"""What counts as a copied answer: one that stands in the perception word for word.

Paying for such a perception would pay for not looking: the answer can be found first and the
perception made up to hold it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

WORD = re.compile(r"""[^\s,;"'`\[\](){}]+""")
NAMED = re.compile("[^=]+=[^=]+")
AT_ENDS = ".:!?"


def words(text: str) -> list[str]:
    """Lower-case words without quotes, brackets, commas and closing punctuation."""
    stripped = (word.strip(AT_ENDS) for word in WORD.findall(text.casefold()))
    return [word for word in stripped if word]


def copies_an_answer(
    perceived: list[str],
    answers: Iterable[str | None],
    truth: str | None = None,
    *,
    exact: bool = False,
) -> bool:
    """Whether the perceived words contain an answer, word for word.

    answers: the response's own and the right one, as far as there are any. The own one counts
        too: a policy may not know the right one, and still must not be paid for a guess.
    truth: p*, if it is known; an answer that stands in it can be perceived and is no copy.
    exact: the perception is known to be p* exactly, perhaps spelt otherwise. It then says nothing
        that the image does not show.
    """
    if exact:
        return False
    shown = words(truth) if isinstance(truth, str) else []
    for answer in answers:
        part = words(answer) if isinstance(answer, str) else []
        if part and _contains(perceived, part) and not _contains(shown, part):
            return True
    return False


def _contains(whole: list[str], part: list[str]) -> bool:
    """A part that names each of its values, such as ``r1c2=3``, in any order and place."""
    if all(NAMED.fullmatch(word) for word in part):
        return {*part} <= {*whole}
    return f" {' '.join(part)} " in f" {' '.join(whole)} "  # no word has a space in it
