"""The top of docs/results.md: what was found for primary contrasts, and all verdicts counted."""

from __future__ import annotations

from collections.abc import Sequence

from percbal.report.evidence_contrasts import as_row, as_rule, shown_effect, unit
from percbal.study.contrasts import (
    DIRECTION,
    LEVEL,
    NO_START,
    NOT,
    NOT_YET,
    OWN,
    REPRODUCED,
    REVERSED,
    TOO_FEW,
    Effect,
)
from percbal.study.registration import Registration

VERDICTS = (REPRODUCED, DIRECTION, NOT, REVERSED, OWN)
RARE = (TOO_FEW, NO_START)  # a column only where some file has one
WAITING = "waiting"  # a primary contrast that is complete, of a family that is not
Found = tuple[Registration, Sequence[Effect]]
OVERVIEW = """\
Each row counts the contrasts of one file. *Complete* ones have all their starts. The columns after
it are their verdicts."""


def summary(found: Sequence[Found]) -> str:
    """Of each file its primary effects and how many verdicts of which kind."""
    return "\n".join(_said(registration, effects) for registration, effects in found)


def _said(registration: Registration, found: Sequence[Effect]) -> str:
    primary = [effect for effect in found if effect.contrast.primary]
    done = [effect for effect in primary if effect.complete]
    sure = [effect for effect in done if effect.settled and effect.sign() in "+-"]
    counts = {verdict: len(own) for verdict, own in _by_verdict(found).items()}
    order = (*VERDICTS, *RARE, WAITING, NOT_YET)
    verdicts = ", ".join(f"{counts[v]} {v}" for v in order if v in counts)
    said = [
        *_effects([effect for effect in primary if effect.values]),
        _tested(len(primary), len(done), len(sure)),
        f"verdicts on all contrasts: {verdicts}",
    ]
    head = f"- **{registration.name}**, primary contrasts, mean ± half of the 95% interval:"
    return "\n".join([head, *(f"  - {line}" for line in said)])


def _tested(primary: int, complete: int, sure: int) -> str:
    if not complete:
        return f"none of the {primary} primary contrasts is complete, so none is tested yet"
    of = f"{primary}" if complete == primary else f"the {complete} (of {primary}) complete"
    return (
        f"{sure} of {of} primary contrasts differ significantly from 0 (p below {LEVEL:g} after "
        "Holm's correction)"
    )


def _effects(found: Sequence[Effect]) -> list[str]:
    """A line for all figures of one comparison: ``NGDiff minus token-mean: a +1.0 ±0.5, ..``."""
    lines: dict[tuple[str, str], list[str]] = {}
    for effect in found:
        name, _, figure = effect.contrast.name.rpartition(" in ")
        if " " in figure.removeprefix("greedy "):  # no figure, but a part of the name
            name, figure = effect.contrast.name, ""
        value = f"{figure} {shown_effect(effect)}".lstrip()
        if not effect.complete:
            value += f" (so far, {len(effect.values)} of {effect.planned} starts)"
        lines.setdefault((name.rstrip(","), unit(effect.contrast)), []).append(value)
    return [
        f"{name}: {', '.join(values)} {of}".removeprefix(": ")
        for (name, of), values in lines.items()
    ]


def overview(found: Sequence[Found]) -> str:
    """A row for each file: how many contrasts are complete, and which verdict they have."""
    counted = [_by_verdict(each) for _, each in found]
    rare = [v for v in (*RARE, WAITING) if any(v in own for own in counted)]
    columns = [*VERDICTS, *rare]
    head = ["file", "contrasts", "complete", *columns, "predicted rightly"]
    rows = [as_row(*head), as_rule(head)]
    for (registration, each), own in zip(found, counted, strict=True):
        tested = [effect for effect in each if not effect.contrast.reason]
        told = [x.foretold() for x in tested if x.counted and x.foretold() != "open"]
        rows.append(
            as_row(
                registration.name,
                _number(tested),
                _number([effect for effect in tested if effect.complete]),
                *(_number(own.get(verdict, [])) for verdict in columns),
                f"{told.count('yes')} of {len(told)}",
            )
        )
    why = (
        f" Primary ones are *{WAITING}* until all primary ones of the file are complete: before "
        "that only significant ones have a verdict, and a count of them is no fair sample."
    )
    return f"{OVERVIEW}{why if WAITING in rare else ''}\n\n" + "\n".join(rows)


def _by_verdict(found: Sequence[Effect]) -> dict[str, list[Effect]]:
    """What can be tested, each with its verdict where tallies count it."""
    own: dict[str, list[Effect]] = {}
    for effect in found:
        if not effect.contrast.reason:
            waits = effect.complete and not effect.counted
            own.setdefault(WAITING if waits else effect.verdict(), []).append(effect)
    return own


def _number(found: Sequence[Effect]) -> str:
    """With that of primary ones: they are corrected, and others are not."""
    primary = sum(effect.contrast.primary for effect in found)
    return f"{len(found)} ({primary} primary)" if found else "0"


def not_run(registration: Registration, found: Sequence[Effect]) -> str:
    """How much a file without a run asks."""
    tested = [effect for effect in found if not effect.contrast.reason]
    primary = sum(effect.contrast.primary for effect in tested)
    file = f"{registration.name}.yaml"
    return f"{len(tested)} contrasts, {primary} primary; see [{file}](studies/{file})"
