"""Rewards for the columns of arXiv:2605.29496, by dotted path.

    reward_funcs: [percbal.evaluate.paper_rewards.outcome]

Each row is judged by its own truth: a list of cells is a Sudoku, ``{"v", "c", "edges"}`` a graph to
colour, ``{"values", "question"}`` a chart. docs/rewards.md says what each pays for.
"""

from __future__ import annotations

from typing import Any

from percbal.rewards import from_task
from percbal.tasks.base import Score, Table, WrongPart
from percbal.tasks.paper import PaperChart, PaperColoring, PaperSudoku, parsed_truth

__all__ = ["blind_reanswer", "outcome", "perception", "perception_f1", "reasoning"]


class EitherTask:
    """The judge of a row by what its truth, or the JSON of it, is."""

    truths = (list, dict)

    def score(self, completion: str, truth: Any) -> Score:
        return _judge(truth).score(completion, truth)

    def marked(self, completion: str, truth: Any) -> dict[str, Table]:
        """What was perceived and answered, part by part."""
        return _judge(truth).marked(completion, truth)

    def wrong_parts(self, completion: str, truth: Any) -> list[WrongPart]:
        """The clues, edges or values that were seen wrong."""
        return _judge(truth).wrong_parts(completion, truth)

    def wrong_answers(self, completion: str, truth: Any) -> list[WrongPart]:
        """The cells, vertices or numbers that are answered wrong."""
        return _judge(truth).wrong_answers(completion, truth)

    def difficulty(self, truth: Any) -> dict[str, int | str]:
        """What makes a row hard."""
        truth = parsed_truth(truth)
        if _mark(truth) == "edges":
            return {"vertices": truth["v"], "edges": len(truth["edges"]), "colors": truth["c"]}
        if _mark(truth) == "values":
            return {"values": len(truth["values"]), "question": truth["question"]["kind"]}
        name = "grid" if "grid" in truth else "clues"
        cells = truth[name] if isinstance(truth, dict) else truth
        flat = [cell for row in cells for cell in (row if isinstance(row, list) else [row])]
        return {"blanks": flat.count(0)}


def _judge(truth: Any) -> PaperColoring | PaperChart | PaperSudoku:
    mark = _mark(parsed_truth(truth))
    if mark == "edges":
        return PaperColoring()
    return PaperChart() if mark == "values" else PaperSudoku()


def _mark(truth: Any) -> str:
    """The key by which a truth is known; empty for a Sudoku's."""
    keys = truth if isinstance(truth, dict) else {}
    return next((key for key in ("edges", "values") if key in keys), "")


outcome, perception, perception_f1, reasoning, blind_reanswer = from_task(EitherTask())
