"""Charts: read the table off a bar chart, a line or a scatter plot, then calculate with it."""

from __future__ import annotations

import json
import random
from typing import Any, NamedTuple

from PIL.Image import Image

from percbal.responses.reading import Refusal
from percbal.tasks import base
from percbal.tasks.chart_aloud import STYLES, answer_text, ratio_text, said_text
from percbal.tasks.chart_image import Look, level, pixels_apart, points, render
from percbal.tasks.chart_reasoning import answer_aloud, reasoning_words
from percbal.tasks.chart_table import (
    KINDS,
    LABELS,
    LARGEST_X,
    QUESTIONS,
    Question,
    Table,
    random_table,
    symmetry_key,
)
from percbal.tasks.options import as_pair, one_of
from percbal.tasks.phrases import Phrases, Styles
from percbal.tasks.picture_task import FORMS, LEVELS, VERBOSITIES, PictureTask
from percbal.tasks.read_number import one_number
from percbal.tasks.read_table import read_table
from percbal.tasks.splits import in_split

QUERY = "Read the value of every label off the {kind} chart in the image, from left to right."
TOLERANCE = 0.005  # of an answer, which may be rounded to two decimals
MOST_ROWS = 10
TRIES = 1000
LEAST_APART = 1.5  # pixels between two values: closer ones are drawn alike


class Level(NamedTuple):
    """What makes a chart hard to see and to calculate with, for options that are not given."""

    rows: tuple[int, int]
    step: int
    ticks: int
    grid: bool
    noise: float


HARDNESS = {
    "easy": Level((3, 4), 10, 10, True, 0.0),
    "medium": Level((5, 7), 5, 10, True, 0.0),
    "hard": Level((7, 10), 2, 20, False, 0.05),
}


class Chart(PictureTask):
    """Charts with a question whose answer takes arithmetic.

    level: easy, medium or hard: what the options say that are not given.
    kind: bar, line, scatter, or any of these. The labels of a scatter plot are its points' x.
    question: difference, ratio, sum, range, count, or any of these.
    rows: (fewest, most) values, from 2 to 10, or one number.
    step, top: values are multiples of step from step to top, and have to be read exactly. Two of
        them must be drawn apart by ``LEAST_APART`` pixels, else ValueError.
    verbosity: how much of the reasoning is written down, from -1 (perception is about half of the
        words) to 3 (it is a few percent of them); docs/tasks.md has the shares.
    style: the words of the reasoning, terse, plain or thinking, or mixed for any of these.
    form: how the table is written: words, or paper for a JSON object.
    pixels: width and height of the picture.
    ticks, grid: numbered ticks are so many values apart; with lines across the chart at them.
    noise: standard deviation of Gaussian pixel noise, as a share of white.
    """

    name = "chart"

    def __init__(
        self,
        level: str = "medium",
        kind: str = "any",
        question: str = "any",
        rows: tuple[int, int] | int | None = None,
        step: int | None = None,
        top: int = 100,
        verbosity: int = 1,
        style: str = "terse",
        form: str = "words",
        pixels: int = 384,
        ticks: int | None = None,
        grid: bool | None = None,
        noise: float | None = None,
    ) -> None:
        usual = HARDNESS[one_of("level", level, LEVELS)]
        self.kind = one_of("kind", kind, (*KINDS, "any"))
        self.asked = one_of("question", question, (*QUESTIONS, "any"))
        self.verbosity = one_of("verbosity", verbosity, VERBOSITIES)
        self.style = Styles(style, STYLES)
        self.form = one_of("form", form, FORMS)
        self.rows = as_pair(usual.rows if rows is None else rows)
        if len(self.rows) != 2 or not 2 <= self.rows[0] <= self.rows[1] <= MOST_ROWS:
            raise ValueError(f"rows must be (fewest, most) from 2 to {MOST_ROWS}, got {rows!r}")
        self.step, self.top = usual.step if step is None else step, top
        if not 1 <= self.step <= top // 2 <= 500:
            raise ValueError(f"it takes 1 <= step <= top / 2 <= 500, got {self.step} and {top}")
        self.look = Look(
            pixels,
            usual.ticks if ticks is None else ticks,
            usual.grid if grid is None else grid,
            usual.noise if noise is None else noise,
        )
        apart = pixels_apart(self.step, top, pixels)
        if apart < LEAST_APART:
            raise ValueError(
                f"values {self.step} apart look alike: with a top of {top} they are {apart:.1f} of "
                f"{pixels} pixels apart, fewer than {LEAST_APART}; take a larger step or picture"
            )
        if self.look.ticks > top:
            raise ValueError(f"ticks must be at most top, got {self.look.ticks} and {top}")

    def problem(self, split: str, rng: random.Random) -> Table:
        for _ in range(TRIES):
            kind = rng.choice(KINDS) if self.kind == "any" else self.kind
            asked = rng.choice(list(QUESTIONS)) if self.asked == "any" else self.asked
            rows = rng.randint(*self.rows)
            table = random_table(kind, rows, self.step, self.top, asked, rng)
            if in_split(symmetry_key(table), split):
                return table
        raise ValueError(f"no table of {self.describe()} is in the split {split}")

    def draw(self, problem: Table, rng: random.Random) -> Image:
        return render(problem, self.top, self.look, rng)

    def query(self, problem: Table) -> str:
        return f"{QUERY.format(kind=problem.kind)} {problem.question.text()}"

    def write(self, problem: Table) -> str:
        if self.form == "paper":
            return json.dumps(problem.values)
        return "; ".join(f"{label}: {number}" for label, number in problem.values.items())

    def solve(self, problem: Table, rng: random.Random) -> tuple[str, str]:
        ticks = range(0, self.top + 1, self.look.ticks)
        return answer_aloud(problem, ticks, self.verbosity, self.style.choose(rng))

    def facts(self, problem: Table) -> dict[str, Any]:
        return {
            "kind": problem.kind,
            "values": problem.values,
            "question": problem.question._asdict(),
        }

    def difficulty(self, truth: dict[str, Any]) -> dict[str, float | int | str]:
        asked = truth["question"]["kind"]
        return {"chart": truth["kind"], "values": len(truth["values"]), "question": asked}

    def ground_truth(self, truth: dict[str, Any]) -> str:
        """The table, and what the answer is judged by."""
        return json.dumps({name: truth[name] for name in ("kind", "values", "question")})

    def problem_in(self, truth: dict[str, Any]) -> dict[str, float]:
        return {label.casefold(): float(number) for label, number in truth["values"].items()}

    def perceived(self, text: str, truth: dict[str, Any]) -> dict[str, float] | Refusal:
        return read_table(text)

    def said(self, text: str, truth: dict[str, Any]) -> float | Refusal:
        return one_number(text)

    def right(self, said: Any, seen: dict[str, float], truth: dict[str, Any]) -> bool:
        value = self._asked(truth).value(seen)
        if value is None or isinstance(said, Refusal):
            return False
        return abs(said - value) <= TOLERANCE * 1.001

    def _asked(self, truth: dict[str, Any]) -> Question:
        """The question, with its labels as `perceived` reads them."""
        asked = Question(**truth["question"])
        return asked._replace(a=asked.a.casefold(), b=asked.b.casefold())

    def share(self, seen: dict[str, float], true: dict[str, float]) -> float:
        """Of the rows, over the longer of the two tables."""
        right = sum(seen.get(label) == number for label, number in true.items())
        return right / max(len(seen), len(true))

    def tables(self, seen: Any, said: Any, truth: dict[str, Any]) -> dict[str, base.Table]:
        """A row for each label that was seen, and for each that was not; the answer."""
        true, tables = self.problem_in(truth), {}
        if isinstance(seen, dict):
            rows, shown = [(label, seen.get(label)) for label in {**true, **seen}], self.parts(seen)
            tables["perceived"] = [
                [(label, label in true), (shown.get(label, ""), number == true.get(label))]
                for label, number in rows
            ]
        if isinstance(said, float):
            tables["answer"] = [[(said_text(said), self.right(said, true, truth))]]
        return tables

    def parts(self, seen: dict[str, float]) -> dict[str, str]:
        return {label: f"{number:g}" for label, number in seen.items()}

    def places(self, instance: base.Instance) -> dict[str, base.Place]:
        """The end of each bar, or the point of each value."""
        truth = instance.truth
        table = Table(truth["kind"], truth["values"], Question(**truth["question"]))
        return {label.casefold(): (at,) for label, at in points(table, self.top).items()}

    def wrong_in_answer(self, said: Any, truth: dict[str, Any]) -> list[base.WrongPart]:
        true = self.problem_in(truth)
        if self.right(said, true, truth):
            return []
        return [("answer", answer_text(self._asked(truth), true), said_text(said))]

    def answer_places(self, instance: base.Instance) -> dict[str, base.Place]:
        """From the one to the other of the two values that the question is about, the first one
        where several are largest or smallest; a point where the largest is the smallest; or the
        line above which values count. A sum has no place."""
        truth, question = instance.truth, Question(**instance.truth["question"])
        if question.kind == "sum":
            return {}
        values = truth["values"]
        table = Table(truth["kind"], values, question)
        if question.kind == "count":
            return {"answer": level(question.above, self.top)}
        ends = question.a, question.b
        if question.kind == "range":
            ends = max(values, key=values.__getitem__), min(values, key=values.__getitem__)
        found = points(table, self.top)
        return {"answer": tuple(found[end] for end in dict.fromkeys(ends))}

    def words(self) -> list[str]:
        xs = [str(x) for x in range(1, LARGEST_X + 1)]
        labels = [*dict.fromkeys(label for pool in LABELS for label in pool), *xs]
        values = range(self.step, self.top + 1, self.step)
        numbers = [str(value) for value in values]
        results = [str(n) for n in range(-self.top, MOST_ROWS * self.top + 1)]
        results += [ratio_text(a, b) for a in values for b in values]
        found = [word for kind in KINDS for word in QUERY.format(kind=kind).split()]
        fields = {"a": labels, "b": labels, "above": numbers}
        found += Phrases(QUESTIONS).words(fields)
        found += [f"{label}:" for label in labels] + [f"{number};" for number in numbers]
        found += self.style.words(lambda p: reasoning_words(labels, numbers, results, p))
        if self.form == "paper":
            found += [f'{before}"{label}":' for before in ("", "{") for label in labels]
            found += [f"{number}{after}" for number in numbers for after in (",", "}")]
        return [*found, *labels, *numbers]

    def describe(self) -> str:
        look = self.look
        return (
            f"{self.name}, {self.kind} kind, {self.asked} question, {self.rows[0]} to "
            f"{self.rows[1]} values, multiples of {self.step} up to {self.top}, verbosity "
            f"{self.verbosity}, {self.style.name} style, {self.form} form, {look.pixels} px, ticks "
            f"{look.ticks} apart, {'with' if look.grid else 'without'} grid, noise {look.noise}"
        )
