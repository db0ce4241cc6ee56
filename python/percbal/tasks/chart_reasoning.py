"""Answers a question about a table, step by step, and checks what was read and what was found."""

from __future__ import annotations

from collections.abc import Iterable

from percbal.tasks.chart_aloud import Aloud, Row, number_text, ratio_text
from percbal.tasks.chart_checks import check_readings, divide, in_order, split
from percbal.tasks.chart_table import Table
from percbal.tasks.phrases import Phrases


def answer_aloud(table: Table, ticks: range, verbosity: int, style: Phrases) -> tuple[str, str]:
    """A chain of thought, and the answer.

    verbosity 0, and -1: the last step alone
    verbosity 1: every value that is used, and every step
    verbosity 2: also the values that are still to come, at every step
    verbosity 3: also every reading by the ticks, its neighbour and its place among the others;
        arithmetic digit by digit; all again from right to left; and once more from the order of
        sizes, where that is another way to the answer

    ticks: the numbers on the axis.
    """
    worker = _Worker(table, Aloud(max(verbosity, 0), style))
    values = list(table.values.items())
    if verbosity < 3:
        answer = worker.work(values)
    else:
        check_readings(worker.aloud, values, ticks)
        by_size = in_order(worker.aloud, values)
        answer = worker.work(values)
        worker.aloud.say(3, "check")
        again = worker.work(values[::-1])
        if not answer == again == worker.work_by_size(by_size, again):
            raise RuntimeError(f"the check of {table} failed")
    worker.aloud.say(0, "so", number=answer)
    return worker.aloud.text(), answer


class _Worker:
    """Goes through a table and writes down what it does."""

    def __init__(self, table: Table, aloud: Aloud) -> None:
        self.table, self.aloud = table, aloud

    def work(self, values: list[Row]) -> str:
        asked = self.table.question.kind
        if asked in ("difference", "ratio"):
            return self._of_two(values, asked)
        if asked == "range":
            return self._range(values)
        return self._total(values, asked)

    def work_by_size(self, order: list[Row], known: str) -> str:
        """The answer from the rows in their order; ``known`` where that is no other way to it."""
        asked = self.table.question.kind
        if asked == "ratio":
            return known
        self.aloud.say(3, "sizes")
        if asked == "range":
            return self._range([order[-1], order[0]])
        if asked == "difference":
            return self._climb(order)
        if asked == "sum":
            return self._total(order, asked)
        above = self.table.question.above
        last = next((i for i, row in enumerate(order[::-1]) if row[1] <= above), len(order) - 1)
        return self._total(order[::-1][: last + 1], asked)  # no smaller one is above it

    def _climb(self, order: list[Row]) -> str:
        """From the smaller value to the larger one by way of those between them."""
        question, values = self.table.question, self.table.values
        low, high = sorted((values[question.a], values[question.b]))
        steps = [number for _, number in order if low <= number <= high]
        total = 0
        for before, number in zip(steps, steps[1:], strict=False):
            self.aloud.step(number, "-", before, number - before)
            self.aloud.step(total, "+", number - before, total + number - before)
            total += number - before
        return self._minus(values[question.a], values[question.b])

    def _of_two(self, values: list[Row], asked: str) -> str:
        question = self.table.question
        for label, number in values:
            if label in (question.a, question.b):
                self._take(values, label, number)
        first, second = self.table.values[question.a], self.table.values[question.b]
        if asked == "difference":
            return self._minus(first, second)
        divide(self.aloud, first, second)
        return self.aloud.step(first, "/", second, ratio_text(first, second))

    def _total(self, values: list[Row], asked: str) -> str:
        """The sum, or the count of those above, with what it is after every row."""
        total, above = 0, self.table.question.above
        for label, number in values:
            self._take(values, label, number)
            if asked == "sum":
                added = number
            else:
                added = int(number > above)
                self.aloud.step(number, ">", above, "yes" if added else "no", at=1)
            split(self.aloud, total, "+", added)
            self.aloud.step(total, "+", added, total + added, at=1)
            total += added
        return str(total)

    def _range(self, values: list[Row]) -> str:
        most = least = values[0][1]
        for label, number in values:
            self._take(values, label, number)
            most, least = max(most, number), min(least, number)
            self.aloud.say(1, "keep", what="largest", number=most)
            self.aloud.say(1, "keep", what="smallest", number=least)
        return self._minus(most, least)

    def _minus(self, first: int, second: int) -> str:
        """A difference; from verbosity 3 on also back again."""
        split(self.aloud, first, "-", second)
        self.aloud.step(first - second, "+", second, first, at=3)
        return self.aloud.step(first, "-", second, number_text(first - second))

    def _take(self, values: list[Row], label: str, number: int) -> None:
        self.aloud.say(1, "take", label=label, number=number)
        rest = values[values.index((label, number)) + 1 :]
        self.aloud.rows(2, "rows", rest)


def reasoning_words(
    labels: Iterable[str], numbers: Iterable[str], results: Iterable[str], style: Phrases
) -> list[str]:
    """Every word that `answer_aloud` can have. results: numbers that are computed."""
    labels, numbers = list(labels), list(numbers)
    found = [*numbers, *results]
    fields = {"label": labels, "number": found, "left": found, "right": found, "count": found}
    fields |= {"rows": [*labels, *numbers, "none"], "what": ["largest", "smallest"]}
    return style.words({**fields, "sign": list("+-*/>"), "result": [*found, "yes", "no"]})
