"""Tables that charts show, and questions about them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import NamedTuple

KINDS = ("bar", "line", "scatter")
LABELS = (
    "Mon Tue Wed Thu Fri Sat Sun".split(),
    "Jan Feb Mar Apr May Jun Jul Aug Sep Oct".split(),
    "apple pear plum fig lemon lime cherry melon peach mango".split(),
    "Oslo Lima Rome Cairo Delhi Tokyo Quito Paris Accra Seoul".split(),
)
LARGEST_X = 20  # of a scatter plot, whose labels are its points' x
QUESTIONS = {
    "difference": "What is the value of {a} minus the value of {b}?",
    "ratio": "What is the value of {a} divided by the value of {b}, to two decimals?",
    "sum": "What is the sum of all values?",
    "range": "What is the largest value minus the smallest value?",
    "count": "How many values are above {above}?",
}
Values = Mapping[str, float]


class Question(NamedTuple):
    """What is asked; ``a`` and ``b`` are labels, and count where they are needed."""

    kind: str
    a: str
    b: str
    above: int

    def text(self) -> str:
        return QUESTIONS[self.kind].format(**self._asdict())

    def value(self, values: Values) -> float | None:
        """The answer for a table; None where the table has none."""
        numbers = list(values.values())
        if self.kind in ("difference", "ratio"):
            if self.a not in values or self.b not in values:
                return None
            first, second = values[self.a], values[self.b]
            if self.kind == "difference":
                return first - second
            return first / second if second else None
        if self.kind == "count":
            return float(sum(number > self.above for number in numbers))
        return sum(numbers) if self.kind == "sum" else max(numbers) - min(numbers)


class Table(NamedTuple):
    """Labels with their values, from left to right, and what is asked of them."""

    kind: str
    values: dict[str, int]
    question: Question


def random_table(
    kind: str, rows: int, step: int, top: int, asked: str, rng: random.Random
) -> Table:
    """Values are multiples of ``step`` from ``step`` to ``top``."""
    if kind == "scatter":
        labels = [str(x) for x in sorted(rng.sample(range(1, LARGEST_X + 1), rows))]
    else:
        pool = rng.choice([labels for labels in LABELS if len(labels) >= rows])
        kept = sorted(rng.sample(range(len(pool)), rows))  # days stay in their order
        labels = [pool[i] for i in kept]
    values = {label: step * rng.randint(1, top // step) for label in labels}
    a, b = rng.sample(labels, 2)
    above = step * rng.randint(1, top // step - 1)
    return Table(kind, values, Question(asked, a, b, above))


def symmetry_key(table: Table) -> str:
    """The same for all tables with these numbers, whatever their labels, order and chart."""
    return str(sorted(table.values.values()))
