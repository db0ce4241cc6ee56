"""The contrasts of a registered study as tables: effect, p, what was predicted, verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence

from percbal.evaluate.intervals import Interval
from percbal.study.contrasts import DIRECTION, NOT, REPRODUCED, REVERSED, Effect
from percbal.study.registration import Registration

HALF_WIDTH = 0.04  # the half-width of an interval that a main cell should have
OVERVIEW = """\
Contrasts that can be tested, those that have all their starts, and what came of them. Verdicts and
predictions of primary contrasts are counted here once all primary ones of the file are complete:
before that only significant ones have a verdict."""


def overview(found: Sequence[tuple[Registration, Sequence[Effect]]]) -> str:
    """A row for each file: how many contrasts have all their runs, and which verdict."""
    verdicts = (REPRODUCED, DIRECTION, NOT, REVERSED)
    head = ["file", "contrasts", "complete", *verdicts, "predicted rightly"]
    rows = [as_row(*head), as_rule(head)]
    for registration, each in found:
        tested = [effect for effect in each if not effect.contrast.reason]
        counted = [effect for effect in tested if effect.counted]
        told = [effect.foretold() for effect in counted if effect.foretold() != "open"]
        rows.append(
            as_row(
                registration.name,
                _number(tested),
                _number([effect for effect in tested if effect.complete]),
                *(_number([x for x in counted if x.verdict() == verdict]) for verdict in verdicts),
                f"{told.count('yes')} of {len(told)}",
            )
        )
    return f"{OVERVIEW}\n\n" + "\n".join(rows)


def _number(found: Sequence[Effect]) -> str:
    """With that of primary ones: they are corrected, and others are not."""
    primary = sum(effect.contrast.primary for effect in found)
    return f"{len(found)} ({primary} primary)" if found else "0"


def contrast_tables(registration: Registration, found: Sequence[Effect]) -> list[str]:
    """A table for each finding of the paper, and one for what is beyond it."""
    titles = {**registration.findings, 0: "Beyond the paper"}
    tables = []
    for number, title in titles.items():
        rows = [effect for effect in found if effect.contrast.finding == number]
        if rows:
            tables.append("\n".join([f"**{title}**", "", *_rows(rows)]))
    return tables


def _rows(found: Sequence[Effect]) -> list[str]:
    needed = f"for ±{100 * HALF_WIDTH:g}"
    told = ["predicted sign (chance)", "prediction came"]
    head = ["difference", "effect", "p", "starts", needed, *told, "verdict"]
    return [as_row(*head), as_rule(head), *(_row(effect) for effect in found)]


def _row(effect: Effect) -> str:
    contrast = effect.contrast
    name = f"**{contrast.name}**" if contrast.primary else contrast.name
    if contrast.reason:
        return as_row(name, "", "", "", "", "", "", f"{effect.verdict()}: {contrast.reason}")
    chance = "" if contrast.chance is None else f" ({contrast.chance:.0%})"
    p = effect.p if effect.holm is None else effect.holm
    lacking = f", {effect.undefined} without the figure" if effect.undefined else ""
    return as_row(
        name,
        shown_effect(effect),
        "" if p is None else f"{p:.3f}" if p >= 0.001 else "<0.001",
        f"{len(effect.values)} of {effect.planned}{lacking}",
        _needed(effect),
        f"{contrast.predicted}{chance}",
        effect.foretold() if effect.counted else "",
        effect.verdict(),
    )


def shown_effect(effect: Effect) -> str:
    """``+3.1 ±2.0``; without a half-width for one start, nothing for none."""
    if effect.mean is None:
        return ""
    times, digits = (100, 1) if effect.contrast.in_points else (1, 2)
    interval = effect.interval
    said = f"{times * effect.mean:+.{digits}f}"
    if interval is not None:
        said += f" ±{times * half(interval):.{digits}f}"
    elif len(effect.values) > 1:
        said += " (all equal)"
    if effect.sides:
        ours, base = (f"{times * side:.{digits}f}" for side in effect.sides)
        said += f" ({ours} against {base})"
    return said


def half(interval: Interval) -> float:
    """The half-width."""
    return interval.high - interval.value


def _needed(effect: Effect) -> str:
    """How many starts an interval of ±4 points takes, by the standard deviation that was seen."""
    from scipy import stats

    if effect.interval is None or not effect.contrast.in_points:
        return ""
    n = len(effect.values)
    sd = half(effect.interval) / stats.t.ppf(0.975, n - 1) * math.sqrt(n)
    for k in range(2, 1000):
        if stats.t.ppf(0.975, k - 1) * sd / math.sqrt(k) <= HALF_WIDTH:
            return str(k)
    return "1000+"


def predictions(found: Sequence[Effect]) -> str:
    """How good the chances were that stand beside the predicted signs; nothing before any came."""
    scored = [
        (effect.contrast.chance, effect.foretold() == "yes")
        for effect in found
        if effect.contrast.chance is not None and effect.foretold() != "open"
    ]
    if not scored:
        return ""
    hits = sum(hit for _, hit in scored)
    expected = sum(chance for chance, _ in scored)
    brier = sum((chance - hit) ** 2 for chance, hit in scored) / len(scored)
    return (
        f"Of {len(scored)} predicted signs {hits} came, where the chances that were said expect "
        f"{expected:.1f}. Their Brier score is {brier:.2f}; saying 50% of each scores 0.25. "
        "Contrasts of one study share their runs, so they are no independent tries."
    )


def as_row(*cells: str) -> str:
    """Of a table in Markdown."""
    return f"| {' | '.join(cells)} |"


def as_rule(head: Sequence[str]) -> str:
    """The line below its head."""
    return "|---" * len(head) + "|"
