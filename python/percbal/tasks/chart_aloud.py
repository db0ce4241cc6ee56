"""What a chain of thought about a chart says, in three styles."""

from __future__ import annotations

from fractions import Fraction

from percbal.tasks.chart_table import Question, Values
from percbal.tasks.phrases import Phrases

Row = tuple[str, int]  # a label and its value

STYLES = {
    "terse": Phrases(
        {
            "look": "{label} {number} ticks {count}",
            "next": "next {number}",
            "beside": "{label} {number}",
            "order": "order {rows}",
            "take": "{label} {number}",
            "step": "{left} {sign} {right} = {result}",
            "keep": "{what} {number}",
            "rows": "left {rows}",
            "round": "third {number}",
            "check": "check",
            "sizes": "by size",
            "so": "so {number}",
        }
    ),
    "plain": Phrases(
        {
            "look": "The value of {label} is {number}, its last tick is {count}.",
            "next": "The next tick is at {number}.",
            "beside": "Beside it is {label} with {number}.",
            "order": "From small to large: {rows}.",
            "take": "The value of {label} is {number}.",
            "step": "{left} {sign} {right} = {result}.",
            "keep": "The {what} so far is {number}.",
            "rows": "Still to come: {rows}.",
            "round": "The third decimal is {number}.",
            "check": "Now once more from the other end.",
            "sizes": "And once more from small to large.",
            "so": "So the answer is {number}.",
        }
    ),
    "thinking": Phrases(
        {
            "look": "Let me see, {label} at {number} reaches tick {count}.",
            "next": "The tick above that is at {number}.",
            "beside": "Next to it I see {label} with {number}.",
            "order": "By size I have {rows}.",
            "take": "Next is {label}, I see {number}.",
            "step": "That makes {left} {sign} {right} = {result}.",
            "keep": "I keep the {what} {number}.",
            "rows": "I still have {rows}.",
            "round": "The third decimal would be {number}.",
            "check": "Wait, let me check that backwards.",
            "sizes": "Hmm, and once more by size.",
            "so": "Good, it is {number}.",
        }
    ),
}


class Aloud:
    """What has been said, up to a verbosity."""

    def __init__(self, verbosity: int, style: Phrases) -> None:
        self.verbosity, self.style = verbosity, style
        self.said: list[str] = []

    def say(self, verbosity: int, phrase: str, **fields: object) -> None:
        """Add a phrase, from a verbosity on."""
        if self.verbosity >= verbosity:
            self.said.append(self.style.say(phrase, **fields))

    def rows(self, verbosity: int, phrase: str, rows: list[Row]) -> None:
        """Add a phrase with some rows of the table."""
        told = " ".join(f"{label} {number}" for label, number in rows)
        self.say(verbosity, phrase, rows=told or "none")

    def step(self, left: int, sign: str, right: int, result: int | str, at: int = 0) -> str:
        """Add an equation, from the verbosity ``at`` on; returns its right side."""
        self.say(at, "step", left=left, sign=sign, right=right, result=result)
        return str(result)

    def text(self) -> str:
        return " ".join(self.said)


def number_text(value: float) -> str:
    """Whole numbers without a point, others to two decimals."""
    return str(int(value)) if value == int(value) else f"{value:.2f}"


def ratio_text(first: int, second: int) -> str:
    """Whole numbers without a point, others to two decimals, halves up as in long division."""
    if first % second == 0:
        return str(first // second)
    hundredths = (200 * first + second) // (2 * second)
    return f"{hundredths // 100}.{hundredths % 100:02}"


def answer_text(question: Question, values: Values) -> str | None:
    """The answer as a right response writes it; None where the table has none."""
    value = question.value(values)
    if value is None or question.kind != "ratio":
        return None if value is None else number_text(value)
    ratio = Fraction(str(values[question.a])) / Fraction(str(values[question.b]))
    sign = "-" if ratio < 0 else ""
    return sign + ratio_text(abs(ratio.numerator), ratio.denominator)


def said_text(value: float) -> str:
    """What was answered, unrounded: it may be wrong in the third decimal."""
    return f"{value:.12g}"
