"""What `percbal coupling` advises, below the numbers: docs/theory.md, for the rewards measured."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Any

from percbal.evaluate.rollout_files import RolloutTable
from percbal.objective.advice import Advice, advise
from percbal.objective.advice_rewards import Candidate, advise_reward
from percbal.objective.measured import AGREEMENT, Between, Measured, count_groups
from percbal_ops import CouplingStats, RewardCoupling, reward_coupling

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
    outcomes, perception, group = table.outcomes, table.perception, table.group
    found = Measured.of(
        CouplingStats(len(names)).update(outcomes, perception, None, group),
        i,
        count_groups(outcomes[:, i], perception, group, int(group.max()) + 1, right_at),
        names.index(AGREEMENT) if AGREEMENT in names else None,
        a_r=a_r,
    )
    of_outcome = reward_coupling(outcomes, outcomes[:, i], None, group).perception.within.r
    truth = result.perception
    others = {
        name: advise_reward(
            found,
            Candidate(
                name,
                Between.of(truth.within, j),
                float(of_outcome[j]),
                graded=bool(truth.wrong_success[j].isnan()),
            ),
        )
        for j, name in enumerate(names)
        if j != i
    }
    return CouplingAdvice(names[i], advise(found), others)
