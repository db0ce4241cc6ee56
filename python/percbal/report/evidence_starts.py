"""Where the trainings with a stop rule ended that the runs of a registered study go on from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from percbal.report.evidence_contrasts import as_row, as_rule
from percbal.study.lines import Line, results
from percbal.study.recipes import REACHED
from percbal.study.registration import Registration

SPREADS = (("step", 1), ("exact_p", 100), ("sampled_r", 100))


def ended(lines: Sequence[Line], study: str) -> dict[str, Line]:
    """Start -> its line: of one that was made again that which the runs went on from, else the
    first. Those of a tuning are none of the study's."""
    made = _made(lines, study)
    used = {(x["start"], x["weights"]) for x in results(lines) if x["study"] == study}
    made.sort(key=lambda x: (x["start"], x["weights"]) not in used)
    return {x["start"]: x for x in reversed(made)}


def _made(lines: Sequence[Line], study: str) -> list[Line]:
    made = [x for x in lines if (x["kind"], x["study"]) == ("start", study)]
    return [x for x in made if not x["start"].startswith("tuning ")]


def starts_made(registration: Registration, lines: Sequence[Line]) -> str:
    """Where the trainings with a stop rule ended, and the starts of which no line says it."""
    rows, lacking = [], []
    for study in registration.planned:
        own = ended(lines, study)
        if own:
            rows.append(_row(study, list(own.values()), len(_made(lines, study)) - len(own)))
        begun = dict.fromkeys(x["start"] for x in results(lines) if x["study"] == study)
        if names := [name for name in begun if name not in own]:
            said = f"Starts of {study} that have runs, and no line of where they ended"
            lacking.append(f"{said}: {len(names)} ({', '.join(names)}).")
    parts = []
    if rows:
        head = ["starts of", "reached", "failed", "made again", "steps", "exact a_p", "a_r"]
        table = "\n".join([as_row(*head), as_rule(head), *rows])
        title = "Where starts ended, least / mean / largest of those that reached it"
        parts.append(f"{title}:\n\n{table}")
    return "\n\n".join([*parts, *lacking])


def _row(study: str, own: Sequence[Line], again: int) -> str:
    reached = [x["figures"] for x in own if x["status"] == REACHED]
    failed = Counter(x["status"] for x in own if x["status"] != REACHED)
    spread = [_spread([x[f] for x in reached if f in x], t) for f, t in SPREADS]
    why = "; ".join(f"{n} {status}" for status, n in failed.items()) or "0"
    return as_row(study, str(len(reached)), why, str(again), *spread)


def _spread(values: Sequence[float], times: int) -> str:
    """Least, mean, largest."""
    if not values:
        return ""
    mean = sum(values) / len(values)
    return " / ".join(f"{times * x:.0f}" for x in (min(values), mean, max(values)))
