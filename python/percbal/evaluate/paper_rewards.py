"""Rewards for the columns of arXiv:2605.29496, by dotted path.

    reward_funcs: [percbal.evaluate.paper_rewards.outcome]

Each row is judged by its own truth: a list of cells is a Sudoku, ``{"v", "c", "edges"}`` a graph to
colour. docs/rewards.md says what each pays for.
"""

from __future__ import annotations

from typing import Any

from percbal.rewards import from_task
from percbal.tasks.base import Score
from percbal.tasks.paper import PaperColoring, PaperSudoku

__all__ = ["blind_reanswer", "outcome", "perception", "perception_f1", "reasoning"]


class EitherTask:
    """The judge of a row by what its truth is."""

    truths = (list, dict)

    def score(self, completion: str, truth: Any) -> Score:
        graph = isinstance(truth, dict) and "edges" in truth
        return (PaperColoring() if graph else PaperSudoku()).score(completion, truth)


outcome, perception, perception_f1, reasoning, blind_reanswer = from_task(EitherTask())
