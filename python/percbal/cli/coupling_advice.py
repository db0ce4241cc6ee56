"""What `percbal coupling` advises, below the numbers: docs/theory.md, for the rewards measured."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass
from typing import Any

from percbal.evaluate.rollout_files import RolloutTable
from percbal.objective.advice import Advice, advise, advise_reward
from percbal.objective.criterion import Reward
from percbal.objective.measured import Measured, mostly_wrong
from percbal_ops import RewardCoupling, reward_coupling

WIDTH = 100


@dataclass(frozen=True)
class CouplingAdvice:
    """Of one outcome, and of the other rewards as perception rewards beside it."""

    outcome: str
    advice: Advice
    others: dict[str, str]  # reward -> a sentence

    def text(self) -> str:
        """For a terminal."""
        lines = [f"A perception reward beside {self.outcome} (docs/theory.md; not measured):"]
        for sentence in (*self.advice.sentences, *self.others.values()):
            lines += textwrap.wrap(sentence, WIDTH, initial_indent="- ", subsequent_indent="  ")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {"outcome": self.outcome, **self.advice.to_dict(), "other_rewards": self.others}


def advice_of(
    names: list[str],
    table: RolloutTable,
    result: RewardCoupling,
    right_at: float,
    a_r: float | None,
) -> CouplingAdvice:
    """The outcome is the column of that name, else the first. ValueError for an impossible a_r."""
    if a_r is not None and not 0 <= a_r <= 1:
        raise ValueError(f"--a-r must be between 0 and 1, got {a_r}")
    i = names.index("outcome") if "outcome" in names else 0
    groups = int(table.group.max()) + 1
    wrong, of = map(float, mostly_wrong(table.perception, table.group, groups, right_at))
    found = Measured.of(result, i, a_r=a_r, mostly_wrong=wrong / of if of else math.nan)
    with_outcome = reward_coupling(table.outcomes, table.outcomes[:, i], None, table.group)
    of_truth, of_outcome = (one.perception.within for one in (result, with_outcome))
    others = {
        name: advise_reward(
            found,
            name,
            Reward(float(of_truth.r[j]), float(of_outcome.r[j])),
            float(of_truth.high[j]),
        )
        for j, name in enumerate(names)
        if j != i
    }
    return CouplingAdvice(names[i], advise(found), others)
