"""Answers a question about a table, step by step, and checks what it found."""

from __future__ import annotations

from collections.abc import Iterable

from percbal.tasks.chart_table import Table
from percbal.tasks.phrases import Phrases

STYLES = {
    "terse": Phrases(
        {
            "take": "{label} {number}",
            "step": "{left} {sign} {right} = {result}",
            "keep": "{what} {number}",
            "rows": "left {rows}",
            "check": "check",
            "so": "so {number}",
        }
    ),
    "plain": Phrases(
        {
            "take": "The value of {label} is {number}.",
            "step": "{left} {sign} {right} = {result}.",
            "keep": "The {what} so far is {number}.",
            "rows": "Still to come: {rows}.",
            "check": "Now once more from the other end.",
            "so": "So the answer is {number}.",
        }
    ),
    "thinking": Phrases(
        {
            "take": "Next is {label}, I see {number}.",
            "step": "That makes {left} {sign} {right} = {result}.",
            "keep": "I keep the {what} {number}.",
            "rows": "I still have {rows}.",
            "check": "Wait, let me check that backwards.",
            "so": "Good, it is {number}.",
        }
    ),
}


def number_text(value: float) -> str:
    """Whole numbers without a point, others to two decimals."""
    return str(int(value)) if value == int(value) else f"{value:.2f}"


def answer_aloud(table: Table, verbosity: int, style: Phrases) -> tuple[str, str]:
    """A chain of thought, and the answer.

    verbosity 0: the last step alone
    verbosity 1: every value that is used, and every step
    verbosity 2: also the values that are still to come, at every step
    verbosity 3: also a check: all again in the reverse order
    """
    worker = _Worker(table, verbosity, style)
    values = list(table.values.items())
    answer = worker.work(values)
    if verbosity >= 3:
        worker.say(3, "check")
        if worker.work(values[::-1]) != answer:
            raise RuntimeError(f"the check of {table} failed")
    worker.say(0, "so", number=answer)
    return " ".join(worker.said), answer


class _Worker:
    """Goes through a table and writes down what it does."""

    def __init__(self, table: Table, verbosity: int, style: Phrases) -> None:
        self.table, self.verbosity, self.style = table, verbosity, style
        self.said: list[str] = []

    def say(self, verbosity: int, step: str, **fields: str) -> None:
        """Add a phrase, from a verbosity on."""
        if self.verbosity >= verbosity:
            self.said.append(self.style.say(step, **fields))

    def work(self, values: list[tuple[str, int]]) -> str:
        asked = self.table.question.kind
        if asked in ("difference", "ratio"):
            return self._of_two(values, "-" if asked == "difference" else "/")
        if asked == "range":
            return self._range(values)
        return self._total(values, asked)

    def _of_two(self, values: list[tuple[str, int]], sign: str) -> str:
        question = self.table.question
        for label, number in values:
            if label in (question.a, question.b):
                self._take(values, label, number)
        first, second = self.table.values[question.a], self.table.values[question.b]
        result = number_text(first - second if sign == "-" else first / second)
        return self._step(str(first), sign, str(second), result)

    def _total(self, values: list[tuple[str, int]], asked: str) -> str:
        """The sum, or the count of those above, with what it is after every row."""
        total, above = 0, self.table.question.above
        for label, number in values:
            self._take(values, label, number)
            if asked == "sum":
                added = number
            else:
                added = int(number > above)
                self._step(str(number), ">", str(above), "yes" if added else "no", at=1)
            total += added
            self._step(str(total - added), "+", str(added), str(total), at=1)
        return str(total)

    def _range(self, values: list[tuple[str, int]]) -> str:
        most = least = values[0][1]
        for label, number in values:
            self._take(values, label, number)
            most, least = max(most, number), min(least, number)
            self.say(1, "keep", what="largest", number=str(most))
            self.say(1, "keep", what="smallest", number=str(least))
        return self._step(str(most), "-", str(least), str(most - least))

    def _take(self, values: list[tuple[str, int]], label: str, number: int) -> None:
        self.say(1, "take", label=label, number=str(number))
        rest = values[values.index((label, number)) + 1 :]
        self.say(2, "rows", rows=" ".join(f"{a} {b}" for a, b in rest) or "none")

    def _step(self, left: str, sign: str, right: str, result: str, at: int = 0) -> str:
        self.say(at, "step", left=left, sign=sign, right=right, result=result)
        return result


def reasoning_words(
    labels: Iterable[str], numbers: Iterable[str], results: Iterable[str], style: Phrases
) -> list[str]:
    """Every word that `answer_aloud` can have. results: numbers that are computed."""
    labels, numbers = list(labels), list(numbers)
    found = [*numbers, *results]
    fields = {"label": labels, "number": found, "left": found, "right": found, "result": found}
    fields |= {"rows": [*labels, *numbers, "none"], "what": ["largest", "smallest"]}
    return style.words({**fields, "sign": list("+-/>"), "result": [*found, "yes", "no"]})
