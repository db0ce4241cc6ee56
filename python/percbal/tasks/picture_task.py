"""What every task does alike, so that a task only says what is its own.

A task names a *problem* (what a picture shows, an object of its own making), and says how to make
one, draw it, write it, solve it and read it. `PictureTask` turns that into instances and scores.
docs/extend.md walks through one.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from PIL.Image import Image

from percbal.responses.reading import Refusal
from percbal.tasks.base import (
    TAG_WORDS,
    Instance,
    Place,
    Score,
    Table,
    WrongPart,
    find_spans,
    tagged,
)
from percbal.tasks.judging import judge, wrong_parts
from percbal.tasks.splits import check_split

LEVELS = ("easy", "medium", "hard")
FORMS = ("words", "paper")
VERBOSITIES = (-1, 0, 1, 2, 3)


class PictureTask(ABC):
    """A `Task` by these methods. ``truth`` is of `facts`, and holds what `perceived`, `said`,
    `problem_in` and `right` need to know."""

    name: str
    grammar: ClassVar[str] = "text"  # of `percbal_ops.score_text`, in which p* is written

    @abstractmethod
    def problem(self, split: str, rng: random.Random) -> Any:
        """A random problem of the split (`percbal.tasks.splits`)."""

    @abstractmethod
    def draw(self, problem: Any, rng: random.Random) -> Image:
        """Its picture: two different problems never look alike, whatever the look."""

    @abstractmethod
    def query(self, problem: Any) -> str:
        """What is asked, without a mark for the image."""

    @abstractmethod
    def write(self, problem: Any) -> str:
        """p*, the one canonical text of the problem."""

    @abstractmethod
    def solve(self, problem: Any, rng: random.Random) -> tuple[str, str]:
        """A chain of thought that solves it, and the answer."""

    @abstractmethod
    def facts(self, problem: Any) -> dict[str, Any]:
        """What judging takes, in types that JSON has."""

    @abstractmethod
    def problem_in(self, truth: dict[str, Any]) -> Any:
        """The true problem, as `perceived` reads p*."""

    @abstractmethod
    def perceived(self, text: str, truth: dict[str, Any]) -> Any:
        """What a text says that the picture shows, or a Refusal."""

    @abstractmethod
    def said(self, text: str, truth: dict[str, Any]) -> Any:
        """The answer that a text gives, or a Refusal."""

    @abstractmethod
    def right(self, said: Any, seen: Any, truth: dict[str, Any]) -> bool | None:
        """Whether an answer, perhaps a Refusal, is right for what was seen; None: cannot tell."""

    @abstractmethod
    def share(self, seen: Any, true: Any) -> float:
        """How much of the true problem was seen right, in [0, 1]."""

    @abstractmethod
    def words(self) -> list[str]:
        """Every word of queries and responses but the tags, in a fixed order."""

    @abstractmethod
    def describe(self) -> str:
        """One sentence: the task and every option."""

    def tables(self, seen: Any, said: Any, truth: dict[str, Any]) -> dict[str, Table]:
        """``perceived`` and ``answer`` part by part for a person to look at: here, as a whole.

        seen, said: None for a span that is not there; neither this nor a Refusal has a table.
        """
        true, tables = self.problem_in(truth), {}
        if seen is not None and not isinstance(seen, Refusal):
            tables["perceived"] = [[(str(seen), seen == true)]]
        if said is not None and not isinstance(said, Refusal):
            tables["answer"] = [[(str(said), self.right(said, true, truth) is True)]]
        return tables

    def parts(self, seen: Any) -> dict[str, str]:
        """What a perceived problem shows, part by part, by the part's name: here, nothing."""
        return {}

    def places(self, instance: Instance) -> dict[str, Place]:
        """Where in its picture each part is, or would be, that `parts` can name."""
        return {}

    def wrong_in_answer(self, said: Any, truth: dict[str, Any]) -> list[WrongPart]:
        """The parts of an answer that are wrong in the true problem: here, nobody can tell."""
        return []

    def answer_places(self, instance: Instance) -> dict[str, Place]:
        """Where in its picture each part is that `wrong_in_answer` names, if it has any."""
        return {}

    def difficulty(self, truth: dict[str, Any]) -> dict[str, float | int | str]:
        """What makes an instance hard, by name: a diagnosis shows the accuracies by each."""
        return {}

    def ground_truth(self, truth: dict[str, Any]) -> str | None:
        """The column of that name in the paper's data sets, as JSON; None for none."""
        return None

    def stream(self, split: str, seed: int, index: int) -> str:
        """What the instance's random numbers are drawn from."""
        return f"{self.name} {split} {seed} {index}"

    def look_of(self, truth: dict[str, Any]) -> random.Random:
        """What the picture of an instance is drawn with, anew."""
        stream = self.stream(truth["split"], truth["seed"], truth["index"])
        return random.Random(f"look {stream}")

    def generate(self, index: int, split: str, seed: int) -> Instance:
        """The instance at ``index``: a function of the arguments and the options.

        RuntimeError if its own response does not score full marks, which is a fault of the task.
        """
        check_split(split)
        stream = self.stream(split, seed, index)
        problem = self.problem(split, random.Random(f"puzzle {stream}"))
        reasoning, answer = self.solve(problem, random.Random(f"order {stream}"))
        truth = self.facts(problem) | {"seed": seed, "split": split, "index": index}
        made = Instance(
            task=self.name,
            index=index,
            image=self.draw(problem, self.look_of(truth)),
            query=self.query(problem),
            perception=self.write(problem),
            reasoning=reasoning,
            answer=answer,
            truth=truth,
        )
        score = self.score(made.response, truth)
        if not (score.answer and score.perception and score.reasoning and score.parsed):
            raise RuntimeError(f"{self.name} {stream}: its own response is wrong: {score}")
        return made

    def score(self, completion: str, truth: dict[str, Any]) -> Score:
        """Judge a completion by the constraints of the problem."""
        return judge(
            completion,
            see=lambda text: self.perceived(text, truth),
            say=lambda text: self.said(text, truth),
            true=self.problem_in(truth),
            right=lambda said, seen: self.right(said, seen, truth),
            share=self.share,
        )

    def marked(self, completion: str, truth: dict[str, Any]) -> dict[str, Table]:
        """What was perceived and answered, part by part, against the truth."""
        spans = find_spans(completion)
        seen = None if spans.perception is None else self.perceived(spans.perception, truth)
        said = None if spans.answer is None else self.said(spans.answer, truth)
        return self.tables(seen, said, truth)

    def wrong_parts(self, completion: str, truth: dict[str, Any]) -> list[WrongPart]:
        """The parts of the picture that were seen wrong; none where nothing can be read."""
        text = find_spans(completion).perception
        seen = None if text is None else self.perceived(text, truth)
        if seen is None or isinstance(seen, Refusal):
            return []
        return wrong_parts(self.parts(seen), self.parts(self.problem_in(truth)))

    def wrong_answers(self, completion: str, truth: dict[str, Any]) -> list[WrongPart]:
        """The parts of the answer that are wrong; none where nothing can be read."""
        text = find_spans(completion).answer
        said = None if text is None else self.said(text, truth)
        if said is None or isinstance(said, Refusal):
            return []
        return self.wrong_in_answer(said, truth)

    def oracle_prefix(self, instance: Instance) -> str:
        """The right perception between its tags, for a model to reason on from."""
        return tagged("perception", instance.perception)

    def vocabulary(self) -> list[str]:
        """All words of queries and responses, without repeats, in a fixed order."""
        return list(dict.fromkeys([*TAG_WORDS, *self.words()]))
