"""Rewards for the columns of arXiv:2605.29496, by dotted path.

    reward_funcs: [percbal.evaluate.paper_rewards.outcome]

Each row is judged by its own truth: a list of cells is a Sudoku, ``{"v", "c", "edges"}`` a graph to
colour. docs/rewards.md says what each pays for.
"""

from __future__ import annotations

from typing import Any

from percbal.rewards import from_task
from percbal.tasks.base import Score, Table, WrongPart
from percbal.tasks.paper import PaperColoring, PaperSudoku

__all__ = ["blind_reanswer", "outcome", "perception", "perception_f1", "reasoning"]


class EitherTask:
    """The judge of a row by what its truth is."""

    truths = (list, dict)

    def score(self, completion: str, truth: Any) -> Score:
        return _judge(truth).score(completion, truth)

    def marked(self, completion: str, truth: Any) -> dict[str, Table]:
        """What was perceived and answered, part by part."""
        return _judge(truth).marked(completion, truth)

    def wrong_parts(self, completion: str, truth: Any) -> list[WrongPart]:
        """The clues or edges that were seen wrong."""
        return _judge(truth).wrong_parts(completion, truth)

    def difficulty(self, truth: Any) -> dict[str, int]:
        """What makes a row hard."""
        if _is_graph(truth):
            return {"vertices": truth["v"], "edges": len(truth["edges"]), "colors": truth["c"]}
        name = "grid" if "grid" in truth else "clues"
        cells = truth[name] if isinstance(truth, dict) else truth
        flat = [cell for row in cells for cell in (row if isinstance(row, list) else [row])]
        return {"blanks": flat.count(0)}


def _judge(truth: Any) -> PaperColoring | PaperSudoku:
    return PaperColoring() if _is_graph(truth) else PaperSudoku()


def _is_graph(truth: Any) -> bool:
    return isinstance(truth, dict) and "edges" in truth


outcome, perception, perception_f1, reasoning, blind_reanswer = from_task(EitherTask())
