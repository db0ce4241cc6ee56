"""When a perception reward speeds up what the outcome reward teaches: docs/theory.md (P1) to (P14).

Pure functions of a few measured numbers. ``a`` is the accuracy of answers, ``a_p`` that of
perceptions, ``q`` that of answers after a right perception, ``r`` the within-group correlation of
outcome and perception. ``c_p`` and ``c_r`` are how steeply ``a`` grows with perception and with
reasoning, ``w`` is the share of the outcome's gain that comes through perception, and a speed is
how fast ``a`` grows, with the outcome reward alone as 1.
"""

from __future__ import annotations

import math
from typing import NamedTuple


def chain_correlation(p: float, q: float) -> float:
    """(P2): ``r`` where only a right perception can lead to a right answer. p, q in [0, 1).

    0 where nothing is right.
    """
    return math.sqrt(q * (1 - p) / (1 - p * q))


def share_of(c_p: float, c_r: float, plasticity: float = 1.0) -> float:
    """(P4): ``w`` in [0, 1]. NaN where neither learns.

    plasticity: how readily perception learns, relative to reasoning.
    """
    perception, reasoning = plasticity * c_p * c_p, c_r * c_r
    both = perception + reasoning
    return perception / both if both > 0 else math.nan


def break_even(c_p: float, c_r: float, r: float) -> float:
    """(P7): the plasticity from which ``w > r^2``; inf where none is enough (r at 1 or -1)."""
    free = c_p * c_p * (1 - r * r)
    return (r * c_r) ** 2 / free if free > 0 else math.inf


class Reward(NamedTuple):
    """What a perception reward says, within groups.

    truth: its correlation with true perception; outcome: with the outcome reward.
    """

    truth: float
    outcome: float


def mixed_speed(w: float, r: float, x: float, reward: Reward | None = None) -> float:
    """(P5): of ``alpha * reward + (1 - alpha) * outcome`` on all tokens.

    r: > 0; x: of (M13), inf for alpha 1. reward: None is true perception itself.
    """
    reward = reward or Reward(1.0, r)
    alone = _alone(w, r, reward)
    return alone if math.isinf(x) else (1 + x * alone) / _spread(x, reward.outcome)


def segment_speed(w: float, r: float, x: float, reward: Reward | None = None) -> float:
    """(P9): of the same mixture on the perception tokens, the outcome alone on the others."""
    truth, outcome = reward or Reward(1.0, r)
    signal = truth if math.isinf(x) else (x * truth + r) / _spread(x, outcome)
    return 1 - w + w * signal / r


def best_mix(w: float, r: float, reward: Reward | None = None) -> tuple[float, float]:
    """(P8): the x of the fastest mixture on all tokens, and its speed. r: in (0, 1].

    (0, 1) where no mixture is faster than the outcome; x is inf for the reward alone, which is the
    fastest where its speed times its ``outcome`` is 1 or more: there the speed only grows with x.
    """
    reward = reward or Reward(1.0, r)
    each, outcome = _alone(w, r, reward), reward.outcome
    if each <= outcome or outcome <= -1:
        return 0.0, 1.0
    if each * outcome >= 1:
        return math.inf, each
    x = (each - outcome) / (1 - each * outcome)
    return x, math.sqrt(1 + (each - outcome) ** 2 / (1 - outcome * outcome))


def best_segment(w: float, r: float, reward: Reward | None = None) -> float:
    """(P9): the speed of the fastest mixture on perception tokens alone, at least 1. r: > 0."""
    truth, outcome = reward or Reward(1.0, r)
    if truth <= r * outcome:
        return 1.0
    x = (truth - r * outcome) / (r - truth * outcome) if r > truth * outcome else math.inf
    return segment_speed(w, r, x, reward)


def silent_gain(w: float, r: float, share: float) -> float:
    """(P10): what any mixture adds to the speed on perception tokens alone, about, by speaking in
    ``share`` of the groups, whose outcomes are all equal while their perceptions differ. r: > 0."""
    return share * w / r


def silent_gain_mixed(w: float, r: float, share: float, paid: float) -> float:
    """(P10): the same on all tokens, where it also pays the wrong reasoning in these groups.

    paid: ``q s_a s_p / c_r``; any number where w is 1.
    """
    return share * (w / r - ((1 - w) * paid if w < 1 else 0.0))


def segment_speed_in_groups(
    w: float, r: float, a: float, rate: float, size: int, truth: float = 1.0
) -> float:
    """(P14): of a reward of 0 and 1 alone on the perception tokens, in groups of ``size``. r: > 0.

    Exact for one kind of prompt, with the groups in which it or the outcome is silent.

    rate: how often the reward is 1, in (0, 1): ``a_p`` for the truth, and ``a_p (1 - f) + (1 - a_p)
        f`` if its verdicts are flipped with the chance f. truth: its correlation with the truth.
    """
    return 1 - w + w * truth / r * kept_signal(rate, size) / kept_signal(a, size)


def kept_signal(rate: float, size: int) -> float:
    """(P14): what groups of ``size`` keep of the signal of a large one, for a reward of 0 and 1.

    rate: how often it is 1, in (0, 1).
    """
    mean = 0.0
    for ones in range(1, size):
        chance = math.comb(size, ones) * rate**ones * (1 - rate) ** (size - ones)
        mean += chance * math.sqrt(ones * (size - ones))
    return mean / size * math.sqrt((size - 1) / size / (rate * (1 - rate)))


def dense_factor(p: float, parts: float = math.inf) -> float:
    """(P11): a dense reward's signal relative to the exact one's, at least 1. p: in (0, 1).

    parts: independent parts of a perception, all equally hard; the factor grows with their number,
        and for inf is the most that it can be. With one hard part among easy ones it can be < 1.
    """
    if math.isinf(parts):
        return math.sqrt((1 - p) / (-p * math.log(p)))
    cell = p ** (1 / parts)
    return math.sqrt(cell / (1 - cell) * (1 - p) / p / parts)


def weight_ratio(alpha: float, s_reward: float, s_outcome: float) -> float:
    """x of (M13), from within-group standard deviations; only their ratio counts."""
    return math.inf if alpha == 1 else alpha * s_reward / ((1 - alpha) * s_outcome)


def alpha_of(x: float, s_reward: float, s_outcome: float) -> float:
    """The alpha of a `weight_ratio`."""
    return 1.0 if math.isinf(x) else x * s_outcome / (x * s_outcome + s_reward)


def _alone(w: float, r: float, reward: Reward) -> float:
    """c of (P5), the speed of a reward without the outcome. Beyond what it says by way of the
    perception it says something about the reasoning; where r is 1 there is nothing beyond."""
    beyond = (reward.outcome - r * reward.truth) / (1 - r * r) if abs(r) < 1 else 0.0
    return w * reward.truth / r + (1 - w) * beyond


def _spread(x: float, r: float) -> float:
    """s of (M14), the standard deviation of ``x z(reward) + z(outcome)``."""
    return math.sqrt(x * x + 2 * x * r + 1)
