"""Numbers in the words of a model that nobody told how to write one.

Nothing is guessed: a number is read to its end, with its sign and its thousands, or not at all.
``15.9km`` and ``−15`` are not 15. Time is linear in the text.
"""

from __future__ import annotations

import re

from percbal.responses.reading import Refusal, too_long

# the other signs that models write for a minus; an em dash is none
MINUS = str.maketrans(
    dict.fromkeys("−‐‑‒–﹣－", "-") | dict.fromkeys("\u00a0\u2007\u2009\u202f", " ")
)
# at most 12 digits before the point, and a comma only between thousands
DIGITS = r"(?:[1-9]\d{0,2}(?:,\d{3}){1,3}|\d{1,12})(?:\.\d+)?"
WHOLE = re.compile(rf"([-+]?)[ ]?({DIGITS})")
UNSIGNED = re.compile(DIGITS)
TOKEN = re.compile(r"(?<![\w.])(\d(?:[\d.,]*\d)?+)(\w*+)")
BEFORE = 24  # characters before a number that can say its sign
NEGATIVE = re.compile(
    r"(?:^|[\s(\[{=:*`\"'$€£|~≈])-[$€£]?$"
    r"|(?:^\s*|[=:(][ ]*|\bis[ ]+)(?:-|\bminus|\bnegative)[ ]+$",
    re.IGNORECASE,
)
# a sign, and nothing behind it that could be words, a list's separator or another line
UNCERTAIN = re.compile(
    r"(?:[-—―±∓]|\b(?:minus|negative))(?:\\[a-z]++|</?\w++>|[^\w=:;\n])*+$", re.IGNORECASE
)
ORDINALS = ("st", "nd", "rd", "th")


def read_number(text: str) -> float | None:
    """The number that is all of a text; None where it is something else."""
    found = WHOLE.fullmatch(text.translate(MINUS))
    return None if found is None else _value(found[1], found[2])


def one_number(text: str) -> float | Refusal:
    """The only number of a text, however often it stands there, or why it cannot be told."""
    if refusal := too_long(text):
        return refusal
    text = text.translate(MINUS)
    numbers = set()
    for token in TOKEN.finditer(text):
        if token[2].casefold() in ORDINALS:
            continue
        if UNSIGNED.fullmatch(token[1]) is None or token[2].casefold() not in ("", "x"):
            return Refusal("number", f"this is no plain number: {token[0][:20]!r}")
        before = text[max(0, token.start() - BEFORE) : token.start()]
        negative = NEGATIVE.search(before) is not None
        if not negative and UNCERTAIN.search(before):
            shown = (before + token[0]).split("\n")[-1].strip()
            return Refusal("number", f"this may have a minus, or not: {shown[-30:]!r}")
        numbers.add(_value("-" if negative else "", token[1]))
    if len(numbers) == 1:
        return numbers.pop()
    return Refusal("number", f"an answer is one number, this has {len(numbers)}")


def _value(sign: str, digits: str) -> float:
    return float(sign + digits.replace(",", ""))
