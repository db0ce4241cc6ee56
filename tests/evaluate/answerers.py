"""Who answers without a model: hand-made, so that every accuracy is known beforehand."""

from __future__ import annotations

from percbal.evaluate.diagnose import measure
from percbal.evaluate.generation import Completion
from percbal.evaluate.questions import task_questions
from percbal.responses.asking import Asking
from percbal.tasks import get_task

SUDOKU = get_task("sudoku", size=4)
ALL = ("image", "told", "text")


def questions(n=6, seed=0):
    return task_questions(SUDOKU, n, "test", seed, Asking())


def response(perception, answer):
    return (
        f"<perception> {perception} </perception> <reasoning> so </reasoning> "
        f"<answer> {answer} </answer>"
    )


class Oracle:
    """Right in everything. A subclass says something else of one question and way."""

    def __init__(self):
        self.asked = []

    def __call__(self, batch, *, told):
        self.asked.append([(question.index, question.sample) for question in batch])
        return [self.completion(question, told) for question in batch]

    def completion(self, question, told):
        in_text = not told and not question.beginning
        way = "told" if told else "text" if in_text else "image"
        return Completion(self.text(question, way), False)

    def text(self, question, way):
        return question.response


def by(text):
    """Who says ``text(question, way)``."""

    class Answers(Oracle):
        def text(self, question, way):
            return text(question, way)

    return Answers()


def diagnosed(answers, *, n=6, ways=ALL, seed=0, batch_size=4, **options):
    asked = options.pop("questions", None) or questions(n, seed)
    options |= {"split": "test", "seed": seed, "batch_size": batch_size, "progress": False}
    return measure(asked, answers, Asking(), ways=ways, **options)
