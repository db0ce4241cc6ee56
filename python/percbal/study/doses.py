"""Dose and response: how well a reward correlates with true perception, and what it teaches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from percbal.evaluate.intervals import Interval, t_interval
from percbal.study.lines import Line, results
from percbal.study.plan import START
from percbal.study.presets import PRESETS
from percbal.study.registration import Contrast

STUDY = "dose"
TRUTH, NOISY, OUTCOME = "perception", "flipped_perception", "outcome"  # rewards
Point = tuple[float, float]  # an arm's r, and its gain
CURVE = (TRUTH, NOISY)  # rewards whose arms make the curve
LEAST = 1e-6  # a chance is taken as no smaller, so that its log-odds are finite


@dataclass(frozen=True)
class Dose:
    """One arm.

    reward: of its perception tokens.
    r: mean within-group correlation of that reward with true perception, of each start, in the
        warm-up.
    gain: in the log-odds of exact a_p against the start, of each start.
    off: gain minus what the curve has at its r, see ``bend``, of the starts that have all of it;
        () for an arm on it.
    """

    arm: str
    reward: str
    r: tuple[float, ...]
    gain: tuple[float, ...]
    off: tuple[float, ...] = ()

    @property
    def on_curve(self) -> bool:
        """Whether its reward is the truth with flipped verdicts."""
        return self.reward in CURVE

    def mean_r(self) -> float:
        return sum(self.r) / len(self.r)

    def interval(self) -> Interval | None:
        """Of the gain, t over starts; None for one."""
        return t_interval(self.gain) if len(self.gain) > 1 else None


def doses(lines: Sequence[Line]) -> list[Dose]:
    """Every arm, from the smallest correlation to the largest."""
    found: dict[tuple[str, str], list[tuple[Point, float | None]]] = {}
    for points in _of_starts(lines):
        curve = _curve(points)
        for name, at in points.items():
            found.setdefault(name, []).append(
                (at, bend(curve, at) if name[1] not in CURVE else None)
            )
    each = []
    for name, points_off in found.items():
        rs, gains = zip(*(at for at, _ in points_off), strict=True)
        each.append(Dose(*name, rs, gains, tuple(o for _, o in points_off if o is not None)))
    return sorted(each, key=lambda dose: dose.mean_r())


Points = dict[tuple[str, str], Point]  # by arm and reward


def _of_starts(lines: Sequence[Line]) -> list[Points]:
    of: dict[str, Points] = {}
    runs = [line for line in results(lines) if line["study"] == STUDY]
    before = {line["start"]: line for line in runs if line["arm"] == START}
    for line in runs:
        if line["arm"] == START or line["start"] not in before:
            continue
        if (at := point(line, before[line["start"]])) is not None:
            of.setdefault(line["start"], {})[line["arm"], line["reward"]] = at
    return list(of.values())


def _curve(points: Points) -> list[Point]:
    return sorted(at for (_, reward), at in points.items() if reward in CURVE)


def _is_whole(curve: Sequence[Point]) -> bool:
    return len(curve) == sum(arm.reward() in CURVE for arm in PRESETS[STUDY].arms)


def break_evens(lines: Sequence[Line]) -> list[float | None]:
    """Of each start with the whole curve the r from which on all of it is above 0, straight between
    neighbours; None where that is none of it, or all."""
    found: list[float | None] = []
    for curve in filter(_is_whole, map(_curve, _of_starts(lines))):
        below = [i for i, (_, gained) in enumerate(curve) if gained <= 0]
        if not below or below[-1] == len(curve) - 1:
            found.append(None)
            continue
        (r, gained), (next_r, more) = curve[below[-1] : below[-1] + 2]
        found.append(r - gained * (next_r - r) / (more - gained))
    return found


def bend(curve: Sequence[Point], at: Point) -> float | None:
    """What an arm gained more than the curve has at its r, straight between neighbours and level
    beyond its ends. None where the start lacks a part of the curve."""
    if not _is_whole(curve):
        return None
    rs, gains = zip(*sorted(curve), strict=True)
    return float(at[1] - np.interp(at[0], rs, gains))


def correlation(line: Line) -> float | None:
    """Of the reward for perception tokens with true perception within a group, mean over the
    warm-up; None where nothing varied, or for a start.

    Later ones are partly an outcome: flips of 0.11 have r 0.60 where a tenth is right, 0.78 where
    half is, so that an arm that learns would move to the right.
    """
    reward = line["reward"]
    return 1.0 if reward == TRUTH else line["figures"].get(f"signal_{reward}.start")


def gain(line: Line, before: Line, figure: str = "exact_p") -> float | None:
    """In the log-odds of exact a_p against the start; None where one is not there."""
    end, begin = line["figures"].get(figure), before["figures"].get("exact_p")
    return None if end is None or begin is None else log_odds(end) - log_odds(begin)


def point(line: Line, before: Line) -> Point | None:
    """Of an arm from one start: its r, and its gain."""
    r, gained = correlation(line), gain(line, before)
    return None if r is None or gained is None else (r, gained)


def contrast_of_doses(contrast: Contrast, lines: Sequence[Line]) -> float | None:
    """The value of one start, see ``Contrast``; None where an arm has no point, or no r differs.

    lines: of the start, and of the arms of ``contrast.doses``.
    """
    of = {line["arm"]: line for line in lines}
    at = {arm: point(of[arm], of[START]) for arm in contrast.doses}
    points = {arm: xy for arm, xy in at.items() if xy is not None}
    if len(points) < len(at):
        return None
    if contrast.ordered:
        (low, less), (high, more) = sorted(points[arm] for arm in contrast.ordered)
        return more - less if high > low else None
    rs, gains = np.transpose([points[arm] for arm in contrast.curve])
    if np.ptp(rs) == 0:
        return None
    slope = float(np.cov(rs, gains)[0, 1] / np.var(rs, ddof=1))
    if not contrast.arm:
        return slope
    r, gained = points[contrast.arm]
    return float(gained - (gains.mean() + slope * (r - rs.mean())))


def log_odds(p: float) -> float:
    """Kept from infinity."""
    p = min(max(p, LEAST), 1 - LEAST)
    return math.log(p / (1 - p))
