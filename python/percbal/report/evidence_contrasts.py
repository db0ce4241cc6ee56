"""The contrasts of a registered study as tables: effect, p, what was predicted, verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import stdev

from percbal.evaluate.intervals import Interval, t_interval
from percbal.study.contrasts import Effect
from percbal.study.figure_names import CORRELATION
from percbal.study.registration import Contrast, Registration

HALF_WIDTH = 0.04  # the half-width of an interval that a main cell should have


def contrast_tables(
    registration: Registration, found: Sequence[Effect], remarks: Mapping[int, str]
) -> list[str]:
    """A table for each finding of the paper, whose claim is not ours, and one for what is beyond
    it; in words what cannot be tested. Then how many starts narrower intervals would take.

    remarks: made afterwards, by the number of the finding.
    """
    tables = []
    for number, claim in {**registration.findings, 0: ""}.items():
        own = [effect for effect in found if effect.contrast.finding == number]
        title = f"**The paper reports:** *{claim}*" if number else "**Beyond the paper**"
        rows = [effect for effect in own if not effect.contrast.reason]
        if rows:
            here = "**Here:**" if number else "(it has no finding on these):"
            tables.append("\n".join([f"{title} {here}", "", *_rows(rows)]))
            if number in remarks:
                tables.append(f"*Remarked afterwards:* {remarks[number]}")
        if untested := [effect for effect in own if effect.contrast.reason]:
            what = "A part of it" if rows else f"{title} It"
            reasons = "; ".join(effect.contrast.reason for effect in untested)
            tables.append(f"{what} {untested[0].verdict()}: {reasons}.")
    return [*tables, _starts_needed(found)]


def _rows(found: Sequence[Effect]) -> list[str]:
    units = {unit(effect.contrast) for effect in found}
    of_all = units.pop() if len(units) == 1 else ""
    corrected = any(effect.holm is not None for effect in found)
    told = ["predicted sign (chance)", "prediction came"]
    head = ["difference", f"effect ({of_all})" if of_all else "effect"]
    head += ["p (**bold**: corrected by Holm)" if corrected else "p", "starts", *told, "verdict"]
    return [as_row(*head), as_rule(head), *(_row(effect, not of_all) for effect in found)]


def asked_afterwards(found: Sequence[Effect]) -> str:
    """A table of what was asked when the results were there; nothing without any."""
    head = ["difference, asked afterwards", "effect", "p, not corrected", "starts"]
    rows = [
        as_row(
            x.contrast.name,
            f"{shown_effect(x)} {unit(x.contrast)}",
            _shown_p(x),
            f"{len(x.values)} of {x.planned}",
        )
        for x in found
    ]
    title = "Asked afterwards: not registered, chosen by what was seen, and without a verdict."
    return "\n".join([title, "", as_row(*head), as_rule(head), *rows]) if rows else ""


def _row(effect: Effect, with_unit: bool) -> str:
    contrast = effect.contrast
    name = f"**{contrast.name}**" if contrast.primary else contrast.name
    chance = "" if contrast.chance is None else f" ({contrast.chance:.0%})"
    lacking = f", {effect.undefined} without the figure" if effect.undefined else ""
    value = shown_effect(effect)
    return as_row(
        name,
        f"{value} {unit(contrast)}" if value and with_unit else value,
        _shown_p(effect),
        f"{len(effect.values)} of {effect.planned}{lacking}",
        f"{contrast.predicted}{chance}",
        effect.foretold() if effect.counted else "",
        effect.verdict(),
    )


def _shown_p(effect: Effect) -> str:
    p = effect.p if effect.holm is None else effect.holm
    if p is None:
        return ""
    shown = f"{p:.3f}" if p >= 0.001 else "<0.001"
    return shown if effect.holm is None else f"**{shown}**"


def unit(contrast: Contrast) -> str:
    """What the numbers of an effect are."""
    if contrast.in_points:
        return "points"
    if contrast.curve and not contrast.arm:
        return "log-odds for 1 of r"
    if contrast.scale or contrast.doses:
        return "log-odds"
    return "in r" if CORRELATION.fullmatch(contrast.figure) else "as a fraction"


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


def mean_and_half(values: Sequence[float], digits: int, sign: str = "") -> str:
    """``3.1 ±2.0``: the mean and half of the t interval; the mean alone where all are equal.

    sign: ``+`` also marks what is above 0.
    """
    mean = f"{sum(values) / len(values):{sign}.{digits}f}"
    return mean if len(set(values)) < 2 else f"{mean} ±{half(t_interval(values)):.{digits}f}"


def _starts_needed(found: Sequence[Effect]) -> str:
    """What an interval of ±4 points takes of the primary contrasts whose own is wider."""
    wider = [
        effect
        for effect in found
        if effect.contrast.primary and effect.contrast.in_points and effect.interval
        if half(effect.interval) > HALF_WIDTH
    ]
    if not wider:
        return ""
    said = "; ".join(f"{effect.contrast.name} {_needed(effect)}" for effect in wider)
    return (
        f"Starts that an interval of ±{100 * HALF_WIDTH:g} points would take, by the standard "
        f"deviation that was seen: {said}."
    )


def _needed(effect: Effect) -> str:
    from scipy import stats

    sd = stdev(effect.values)
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
        f"{expected:.1f}. Their Brier score is {brier:.2f}; saying 50% of each scores 0.25. The "
        "chances were written after the pilot runs told under *seen before*, so this is no blind "
        "forecast. Contrasts of one study share their runs, so they are no independent tries."
    )


def as_row(*cells: str) -> str:
    """Of a table in Markdown."""
    return f"| {' | '.join(cells)} |"


def as_rule(head: Sequence[str]) -> str:
    """The line below its head."""
    return "|---" * len(head) + "|"
