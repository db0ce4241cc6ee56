"""Scores rollouts that were saved as texts, beside the labels of their rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from percbal.data.lines import BadRow
from percbal.data.paper import labels_of
from percbal.evaluate.row_judges import LabelJudge, judge_of
from percbal.responses.asking import Asking
from percbal.responses.labels import is_missing
from percbal.rewards.texts import completion_text

COMPLETION = "completion"
LABELS = ("perception", "grammar", "answer", "answer_grammar", "truth", "task", "ground_truth")
SCORED = ("outcome", "perception", "reasoning")


@dataclass(frozen=True)
class RolloutScores:
    """Judges a rollout as a diagnosis judges a row. asking: the format of the completions."""

    asking: Asking = field(default_factory=Asking)
    columns = (COMPLETION, *LABELS)  # that are read

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        """The values of `SCORED`, which take the place of labels of these names.

        As of rewards: what cannot be told is 0, and reasoning is None where only labels judge.
        BadRow for a rollout without a completion or labels.
        """
        if is_missing(record.get(COMPLETION)):
            raise BadRow(f"no column {COMPLETION!r} has the text to be scored")
        row = labels_of(record) | {name: v for name, v in record.items() if not is_missing(v)}
        if isinstance(row.get("perception"), (int, float)):
            raise BadRow("perception is a number, which is no true perception to score by")
        if "perception" not in row:
            raise BadRow("it has no true perception: the column perception is empty")
        try:
            judge, truth = judge_of(row)
        except ValueError as problem:
            raise BadRow(str(problem)) from None
        score = judge.score(self.asking.read(completion_text(record[COMPLETION])), truth)
        reasoning = None if isinstance(judge, LabelJudge) else float(score.reasoning is True)
        values = float(score.answer is True), float(score.perception is True), reasoning
        return dict(zip(SCORED, values, strict=True))
