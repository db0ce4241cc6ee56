"""Dose and response: how well a reward correlates with true perception, and what it teaches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from percbal.evaluate.intervals import Interval, t_interval
from percbal.study.lines import Line, results
from percbal.study.plan import START

STUDY = "dose"
TRUTH, NOISY, OUTCOME = "perception", "flipped_perception", "outcome"  # rewards
LEAST = 1e-6  # a chance is taken as no smaller, so that its log-odds are finite


@dataclass(frozen=True)
class Dose:
    """One arm.

    reward: of its perception tokens.
    r: mean within-group correlation of that reward with true perception, of each start, in the
        first third of the training.
    gain: in the log-odds of exact a_p against the start, of each start.
    """

    arm: str
    reward: str
    r: tuple[float, ...]
    gain: tuple[float, ...]

    @property
    def on_curve(self) -> bool:
        """Whether its reward is the truth with flipped verdicts."""
        return self.reward in (TRUTH, NOISY)

    def mean_r(self) -> float:
        return sum(self.r) / len(self.r)

    def interval(self) -> Interval | None:
        """Of the gain, t over starts; None for one."""
        return t_interval(self.gain) if len(self.gain) > 1 else None


def doses(lines: Sequence[Line]) -> list[Dose]:
    """Every arm, from the smallest correlation to the largest; the outcome as a reward of
    perception tokens, too."""
    runs = [line for line in results(lines) if line["study"] == STUDY]
    before = {line["start"]: line["figures"] for line in runs if line["arm"] == START}
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for line in runs:
        base = before.get(line["start"], {}).get("exact_p")
        end = line["figures"].get("exact_p")
        own = line["figures"].get(f"signal_{OUTCOME}.1")
        r = own if line["reward"] == OUTCOME else correlation(line)
        if base is not None and end is not None and r is not None:
            name = line["arm"], line["reward"]
            found.setdefault(name, []).append((r, log_odds(end) - log_odds(base)))
    each = [
        Dose(*name, *(tuple(values) for values in zip(*pairs, strict=True)))
        for name, pairs in found.items()
    ]
    return sorted(each, key=lambda dose: dose.mean_r())


def correlation(line: Line) -> float | None:
    """Of the reward for perception tokens with true perception within a group, mean of the first
    third of the training; None for an arm that pays none, or where nothing varied.

    Later ones are partly an outcome: flips of 0.11 have r 0.60 where a tenth is right, 0.78 where
    half is, so that an arm that learns would move to the right.
    """
    reward = line["reward"]
    if reward == TRUTH:
        return 1.0
    return None if reward in ("", OUTCOME) else line["figures"].get(f"signal_{reward}.1")


def rank_correlation(runs: Sequence[Line]) -> float | None:
    """Spearman's, over arms of one start: their rewards' r, and the exact a_p they end with.

    None where an r is missing, or nothing differs.
    """
    from scipy import stats

    rs = [correlation(line) for line in runs]
    ends = [line["figures"].get("exact_p") for line in runs]
    if None in rs or None in ends:
        return None
    found = float(stats.spearmanr(rs, ends).statistic)
    return found if math.isfinite(found) else None


def log_odds(p: float) -> float:
    """Kept from infinity."""
    p = min(max(p, LEAST), 1 - LEAST)
    return math.log(p / (1 - p))


def dose_table(found: Sequence[Dose], lines: Sequence[Line]) -> str:
    """Markdown, with what of the lines is not in it; nothing without any."""
    if not found:
        return ""
    trained = [x for x in results(lines) if x["study"] == STUDY and x["arm"] != START]
    trained = [x for x in trained if x["figures"]]
    ends = [x["figures"].get("exact_p", 0.5) for x in trained]
    bounded = sum(not LEAST <= end <= 1 - LEAST for end in ends)
    lacking = len(trained) - sum(len(dose.gain) for dose in found)
    rows = ["| reward of the perception tokens | starts | r with truth | gain in log-odds of a_p |"]
    rows.append("|---|---|---|---|")
    for dose in found:
        interval = dose.interval()
        half = "" if interval is None else f" ±{interval.high - interval.value:.2f}"
        gain = sum(dose.gain) / len(dose.gain)
        rows.append(f"| {dose.arm} | {len(dose.gain)} | {dose.mean_r():.2f} | {gain:+.2f}{half} |")
    note = (
        "r is that of the first third of the training, within groups. Log-odds take a chance as at "
        f"least {LEAST:g}: {bounded} of {len(trained)} runs ended beyond that. {lacking} runs are "
        "not in the table, since they, or their start, lack a figure."
    )
    return "\n".join([*rows, "", note])
