"""What can be said of another perception reward, such as one without labels, beside the outcome."""

from __future__ import annotations

import math
from dataclasses import dataclass

from percbal.objective import criterion
from percbal.objective.advice import NOISY, SMALL, share, unknown
from percbal.objective.criterion import Reward
from percbal.objective.measured import Between, Measured


@dataclass(frozen=True)
class Candidate:
    """A reward and how it correlates, within groups.

    truth: with true perception; outcome: with the outcome reward.
    graded: whether it has values other than 0 and 1.
    """

    name: str
    truth: Between
    outcome: float
    graded: bool


def advise_reward(found: Measured, one: Candidate) -> str:
    """A sentence about it."""
    reward = Reward(one.truth.r, one.outcome)
    seen = (
        f"{one.name} (r {reward.truth:.2f} with perception, {reward.outcome:.2f} with the outcome)"
    )
    if any(map(math.isnan, reward)) or unknown(found) is not None or found.r <= 0:
        return f"{seen}: nothing can be said."
    told = one.truth.told_from_zero
    if told and reward.truth < 0:
        return f"{seen} pays for wrong perceptions: it can harm."
    doubt = "" if told else " Its r with perception cannot be told from 0; more groups would tell."
    if one.graded:
        return (
            f"{seen} is graded: r with wholly right perceptions can understate what it says about "
            f"their parts, as it does of a dense reward, so no speed is foretold.{doubt}"
        )
    if one.truth.relied_on and one.truth.high < NOISY:
        doubt += (
            f" At an r below {NOISY:g} noise has cost more perception than such a reward taught "
            "(docs/results.md); a lower learning rate makes that less."
        )
    w = share(found)
    alone = criterion.best_segment(w, found.r, reward)
    if alone - 1 < SMALL:
        return f"{seen} says hardly anything about perception that the outcome does not.{doubt}"
    if not told:
        return f"{seen} may help or not.{doubt}"
    mixed = criterion.best_mix(w, found.r, reward)[1]
    whole = f"{mixed:.2f} on all" if mixed - 1 >= SMALL else "next to nothing on all"
    speeds = f"{alone:.2f} times the speed on perception tokens alone, {whole}"
    return f"{seen} can help: {speeds}.{doubt}"
