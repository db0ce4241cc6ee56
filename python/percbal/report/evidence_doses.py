"""A dose study as tables: each arm's correlation and gain, and what the theory says of it."""

from __future__ import annotations

from collections.abc import Sequence

from percbal.report.evidence_contrasts import as_row, as_rule, mean_and_half
from percbal.report.evidence_levels import FEW
from percbal.study.doses import LEAST, NOISY, STUDY, Dose, break_evens
from percbal.study.foretold import NO_SIGN, SEEN, Foretold
from percbal.study.lines import Line, results
from percbal.study.plan import START


def dose_table(found: Sequence[Dose], lines: Sequence[Line]) -> str:
    """Markdown, with what of the lines is not in it; nothing without any."""
    if not found:
        return ""
    trained = [x for x in results(lines) if x["study"] == STUDY and x["arm"] != START]
    trained = [x for x in trained if x["figures"]]
    ends = [x["figures"].get("exact_p", 0.5) for x in trained]
    bounded = sum(not LEAST <= end <= 1 - LEAST for end in ends)
    lacking = len(trained) - sum(len(dose.gain) for dose in found)
    head = ["reward of the perception tokens", "starts", "r with truth"]
    head += ["gain in log-odds of a_p", "off the curve (starts)"]
    rows = [as_row(*head), as_rule(head)]
    for dose in found:
        off = f"{_said(dose.off)} ({len(dose.off)})" if dose.off else ""
        cells = [dose.arm, str(len(dose.gain)), f"{dose.mean_r():.2f}", _said(dose.gain), off]
        rows.append(as_row(*cells))
    note = (
        "r is that of the warm-up, within groups. Log-odds take a chance as at "
        f"least {LEAST:g}: {bounded} of {len(trained)} runs ended beyond that. {lacking} runs are "
        "not in the table, since they, or their start, lack a figure. Off the curve is the gain "
        "minus that of the truth and its flips at the same r, straight between neighbours. It was "
        "not registered, but chosen when the first start showed that the curve bends upward in "
        "its middle: the registered contrasts hold an arm there against a straight line, which "
        "flatters it."
    )
    return "\n".join([*rows, "", note + _break_even(lines)])


def _break_even(lines: Sequence[Line]) -> str:
    every = break_evens(lines)
    found = [r for r in every if r is not None]
    if not found:
        return ""
    shown = ", ".join(f"{r:.2f}" for r in found)
    return (
        f" From r = {mean_and_half(found, 2)} on the curve is above 0 ({len(found)} of "
        f"{len(every)} starts that have all of it: {shown}), read off afterwards as well."
    )


def _said(values: Sequence[float]) -> str:
    return mean_and_half(values, 2, "+")


def foretold_table(found: Sequence[Foretold]) -> str:
    """Markdown, with the hit rates; nothing without any."""
    if not found:
        return ""
    head = ["start", "reward of the perception tokens", "r", "r of the outcome", "foretold"]
    head += ["a_p early", "a_p at the end", "a at the end", "signs"]
    rows = [as_row(*head), as_rule(head), *(as_row(*_cells(each)) for each in found)]
    return "\n".join(
        [
            "What [theory.md](theory.md) says of how fast perception learns at first, with the "
            "outcome arm as 1, by (P3), for the dense reward by (P11), and for agreement nothing. "
            "By (P9) a grows faster, too, where that is above 1. The correlations are those of the "
            "warm-up of the training that is told of, so this is no forecast before it. Measured "
            "is the arm minus the outcome arm: exact a_p in log-odds, after the first updates at "
            "which it was measured and at the end, and a in points. A ratio within "
            f"{NO_SIGN:g} of 1 foretells no sign.",
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
    percent = [100 * share for share in shares]
    if len(percent) < 2:
        return ""
    if len(percent) <= FEW:
        return f" ({', '.join(f'{share:.0f}' for share in percent)}%)"
    each = " in each start" if len(set(percent)) == 1 else ""
    return f" ({mean_and_half(percent, 0)}%{each})"
