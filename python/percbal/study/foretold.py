"""What docs/theory.md says of every arm of a dose study, beside what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from percbal.evaluate.intervals import t_interval
from percbal.objective.criterion import dense_factor, kept_signal
from percbal.study.doses import NOISY, STUDY, TRUTH, correlation, gain
from percbal.study.figure_names import AFTER
from percbal.study.lines import Line, results
from percbal.study.plan import START
from percbal.study.presets import PRESETS

DENSE, AGREEMENT = "perception_f1", "group_agreement"  # rewards
BESIDE = "outcome"  # the arm that the others are compared with
GROUP = PRESETS[STUDY].grpo.group  # rollouts
LEAST = 0.05  # a ratio that is nearer to 1 foretells no sign
SEEN = {"early": "a_p early", "end": "a_p at the end", "a": "a at the end"}
FEW = 5  # starts whose values are listed, in place of an interval


@dataclass(frozen=True)
class Foretold:
    """An arm that pays perception tokens by a ``reward`` alone, from one start.

    r, outcome: within-group correlations with true perception in the warm-up, of the arm's reward
    and of the outcome in the outcome arm. ratio: how fast perception learns at first, with the
    outcome arm as 1: (P3) for each reward, ``r / outcome``; for a dense one (P11). By (P9) answers
    then learn faster, too, where it is above 1. None where the theory says nothing. plain: the same
    for plain gradient steps, in groups as small as they are (P14).
    seen: the arm minus the outcome arm: ``early`` and ``end``, in the log-odds of exact a_p after
    the first updates at which it was measured and at the end; ``a``, a at the end.
    """

    start: str
    arm: str
    reward: str
    r: float
    outcome: float
    ratio: float | None
    plain: float | None
    seen: dict[str, float]

    def right(self, what: str, *, plain: bool = False) -> bool | None:
        """Whether the sign is the predicted one; no difference at all is not. None where nothing is
        foretold, or it was not measured."""
        ratio = self.plain if plain else self.ratio
        if ratio is None or abs(ratio - 1) < LEAST or what not in self.seen:
            return None
        return (ratio - 1) * self.seen[what] > 0


def foretold(lines: Sequence[Line]) -> list[Foretold]:
    """Every arm of every start that was measured, where it has an outcome arm beside it."""
    runs = [line for line in results(lines) if line["study"] == STUDY and line["figures"]]
    of = {(line["start"], line["arm"]): line for line in runs}
    found = []
    for line in runs:
        before, beside = of.get((line["start"], START)), of.get((line["start"], BESIDE))
        if line["arm"] in (START, BESIDE) or before is None or beside is None:
            continue
        r, outcome = correlation(line), correlation(beside)
        if r is None or outcome is None:
            continue
        ratio, plain = _ratio(line, r, outcome, before["figures"])
        seen = _seen(line, beside, before)
        found.append(
            Foretold(line["start"], line["arm"], line["reward"], r, outcome, ratio, plain, seen)
        )
    return sorted(found, key=lambda each: (each.start, each.r))


Ratios = tuple[float | None, float | None]


def _ratio(line: Line, r: float, outcome: float, start: dict[str, float]) -> Ratios:
    """With Adam, which divides the size of the signal out, and for plain steps."""
    p, a, reward = start["exact_p"], start["a"], line["reward"]
    if outcome <= 0 or r <= 0 or not (0 < p < 1 and 0 < a < 1) or reward == AGREEMENT:
        return None, None  # agreement pays part by part, as dense does, and has no such formula
    if reward == DENSE:  # its signal about the parts, of which hardly a group is without any
        ratio, kept = min(1 / r, dense_factor(p)) / outcome, 1.0
    else:
        flips = line.get("flips", 0.0)
        rate = p * (1 - flips) + (1 - p) * flips if reward in (TRUTH, NOISY) else a
        ratio, kept = r / outcome, kept_signal(rate, GROUP)
    return ratio, ratio * kept / kept_signal(a, GROUP)


def _seen(line: Line, beside: Line, before: Line) -> dict[str, float]:
    after = [int(match[1]) for name in line["figures"] if (match := AFTER.fullmatch(name))]
    wanted = {"end": "exact_p"} | ({"early": f"exact_p_after.{min(after)}"} if after else {})
    found = {"a": line["figures"]["a"] - beside["figures"]["a"]}
    for what, figure in wanted.items():
        ours, theirs = gain(line, before, figure), gain(beside, before, figure)
        if ours is not None and theirs is not None:
            found[what] = ours - theirs
    return found


def foretold_table(found: Sequence[Foretold]) -> str:
    """Markdown, with the hit rates; nothing without any."""
    if not found:
        return ""
    head = ["start", "reward of the perception tokens", "r", "r of the outcome", "foretold"]
    head += ["a_p early", "a_p at the end", "a at the end", "signs"]
    rows = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    rows += [f"| {' | '.join(_cells(each))} |" for each in found]
    return "\n".join(
        [
            "What [theory.md](theory.md) says of how fast perception learns at first, with the "
            "outcome arm as 1, by (P3), for the dense reward by (P11), and for agreement nothing. "
            "By (P9) a grows faster, too, where that is above 1. The correlations are those of the "
            "warm-up of the training that is told of, so this is no forecast before it. Measured "
            "is the arm minus the outcome arm: exact a_p in log-odds, after the first updates at "
            f"which it was measured and at the end, and a in points. A ratio within {LEAST:g} of 1 "
            "foretells no sign.",
            "",
            *rows,
            "",
            _tally(found),
        ]
    )


def _cells(each: Foretold) -> list[str]:
    scales = {"early": (1, 2), "end": (1, 2), "a": (100, 1)}
    seen = [
        f"{scales[what][0] * each.seen[what]:+.{scales[what][1]}f}" if what in each.seen else ""
        for what in SEEN
    ]
    signs = [{True: "right", False: "wrong", None: "-"}[each.right(what)] for what in SEEN]
    ratio = "" if each.ratio is None else f"{each.ratio:.2f}"
    told = " ".join(signs) if set(signs) != {"-"} else ""
    return [each.start, each.arm, f"{each.r:.2f}", f"{each.outcome:.2f}", ratio, *seen, told]


def _tally(found: Sequence[Foretold]) -> str:
    """Apart for flipped verdicts: that more noise teaches less is nearly all they are about."""
    kinds = {
        "flipped verdicts": [each for each in found if each.reward == NOISY],
        "all others": [each for each in found if each.reward != NOISY],
    }
    said = [
        f"- {kind}: {hits}." for kind, own in kinds.items() if (hits := _hits(own, plain=False))
    ]
    if plain := _hits(found, plain=True):
        said.append(
            f"- With the factor of plain gradient steps (P14), of all: {plain}. It was part of "
            "what is foretold until two starts were seen, and is out since the trainer has Adam."
        )
    if not said:
        return "The theory says nothing of these starts."
    head = (
        "Signs that were right, in brackets the shares of the starts; of more than "
        f"{FEW} starts their mean ± half of the t interval:"
    )
    return "\n".join([head, "", *said])


def _hits(found: Sequence[Foretold], *, plain: bool) -> str:
    said = []
    for what, title in SEEN.items():
        of: dict[str, list[bool]] = {}
        for each in found:
            if (right := each.right(what, plain=plain)) is not None:
                of.setdefault(each.start, []).append(right)
        signs = [sign for own in of.values() for sign in own]
        if signs:
            shares = [sum(own) / len(own) for own in of.values()]
            said.append(f"{title} {sum(signs)} of {len(signs)}{_by_start(shares)}")
    return "; ".join(said)


def _by_start(shares: Sequence[float]) -> str:
    if len(shares) < 2:
        return ""
    if len(shares) <= FEW:
        return f" ({', '.join(f'{100 * share:.0f}' for share in shares)}%)"
    mean = 100 * sum(shares) / len(shares)
    if len(set(shares)) == 1:
        return f" ({mean:.0f}% in each start)"
    interval = t_interval(shares)
    return f" ({mean:.0f}% ±{100 * (interval.high - interval.value):.0f})"
