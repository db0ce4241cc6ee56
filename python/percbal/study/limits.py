"""What a study can say: which differences stand, what dilution explains, and the power."""

from __future__ import annotations

import math

import numpy as np

from percbal.evaluate.intervals import detectable, t_interval, t_power
from percbal.evaluate.names import METRICS
from percbal.objective.credit import by_segment
from percbal.study.plan import START, Arm, Study
from percbal.study.results import Results, Row, excludes_zero

OUTCOME = "outcome"  # the arm that the others are held against


def outcome_left(alpha: float, s_a: float, s_p: float, r: float) -> float:
    """What ``z(alpha p + (1 - alpha) a)`` holds of ``z(a)``: the dilution (math.md (M14)).

    ``(1 - alpha) s_a / sqrt(alpha^2 s_p^2 + (1 - alpha)^2 s_a^2 + 2 alpha (1 - alpha) r s_a s_p)``

    z is a reward minus its group's mean over its standard deviation there; s_a and s_p are those
    of the outcome a and the perception reward p, of which only the ratio counts, and r is their
    correlation. Two rewards that are each normalised first have ``s_a = s_p``. Reasoning comes
    after the perception and cannot change p, so that its tokens learn from this part alone, and to
    first order a_r changes by this factor of what the outcome reward makes of it.
    """
    outcome, perception = (1 - alpha) * s_a, alpha * s_p
    variance = perception**2 + outcome**2 + 2 * r * outcome * perception
    if not variance > 0:
        raise ValueError(
            f"the mixed reward does not vary: alpha {alpha}, s_a {s_a}, s_p {s_p}, r {r}"
        )
    return outcome / math.sqrt(variance)


def limits(study: Study, results: Results) -> str:
    """Markdown: the tables below, as far as there are arms for them."""
    found = {(row.start, row.arm) for row in results.rows}
    starts = [s for s in results.starts() if {(s, OUTCOME), (s, START)} <= found]
    tables = (standing(results), dilution(study, results, starts), power(study, results, starts))
    return "\n\n".join(filter(None, tables))


def standing(results: Results) -> str:
    """Every difference that is significant by its bootstrap interval, and whether by t as well."""
    lines, count, kept = [], 0, 0
    for pair in results.differences:
        for metric in METRICS:
            if len(pair.runs) < 2:
                continue
            count += 1
            if excludes_zero(pair.figures[metric]):
                stands = pair.significant(metric)
                kept += stands
                lines.append(
                    f"| {pair.start} | {pair.name} | {metric} | {pair.points(metric)} | "
                    f"{'yes' if stands else 'no'} |"
                )
    if not count:
        return ""
    head = [
        f"Of {count} differences {len(lines)} are significant by the bootstrap, and {kept} of "
        "these over runs as well.",
        "",
        "| start | difference | of | points | stands |",
        "|---|---|---|---|---|",
    ]
    return "\n".join(head + lines)


def dilution(study: Study, results: Results, starts: list[str]) -> str:
    """Changes of a_r: what dilution predicts from the outcome arm's, what is seen, and the rest.

    Of arms that mix exact rewards with a fixed alpha on all tokens, averaged as the outcome arm
    is; the others differ from it in more than the mix.
    """
    lines = []
    for start in starts:
        outcome = results.row(start, OUTCOME)
        base = dict(zip(outcome.runs, outcome.by_run["a_r"], strict=True))
        arms = [row for row in results.rows if row.start == start and row.arm != START]
        for row in (row for row in arms if _mixes(study.arm(row.arm))):
            seen = dict(zip(row.runs, row.by_run["a_r"], strict=True))
            both = [run for run in seen if run in base]
            left = _left(study.arm(row.arm), results.row(start, START))
            if left is None or len(both) < 2:
                continue
            predicted = 100 * left * np.mean([base[run] for run in both])
            observed = 100 * np.mean([seen[run] for run in both])
            rest = t_interval([seen[run] - left * base[run] for run in both])
            mark = "†" if excludes_zero(rest) else ""
            lines.append(
                f"| {start} | {row.arm} ({len(both)}) | {left:.2f} | {predicted:+.1f} | "
                f"{observed:+.1f} | {100 * rest.value:+.1f} "
                f"±{100 * (rest.high - rest.value):.1f}{mark} |"
            )
    head = [
        "| start | arm (runs) | outcome's signal left | predicted a_r | observed a_r | "
        "observed minus predicted |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join(head + lines) if lines else ""


def power(study: Study, results: Results, starts: list[str]) -> str:
    """The gain in a over the outcome arm that so many runs show with a chance of 80%.

    The standard deviation over runs is pooled over all GRPO arms minus the outcome arm. Beside
    it the most that an exact perception reward can gain to first order (math.md (M14)), where
    the outcome arm's a_p moves at all.
    """
    lines = []
    for start in starts:
        arms = [row.arm for row in results.rows if row.start == start and row.arm != START]
        rivals = [arm for arm in arms if study.arm(arm).kind == "grpo" and arm != OUTCOME]
        gains = [results.by_run(start, arm, OUTCOME, "a") for arm in rivals]
        n = min((len(gain) for gain in gains), default=0)
        if n < 2:
            continue
        sd = 100 * math.sqrt(np.mean([np.var(gain, ddof=1) for gain in gains]))
        cells = [f"{sd:.1f}", f"{detectable(sd, n):.1f}", "", "", ""]
        moved, before = results.row(start, OUTCOME).figures["a_p"], results.row(start, START)
        r = before.coupling.get("within_perception", math.nan)
        if moved.low > 0 and r > 0:
            most = 100 * before.figures["a_r"].value * moved.value * (1 / r - 1)
            runs = next((str(k) for k in range(2, 1000) if t_power(most, sd, k) >= 0.8), "1000+")
            cells[2:] = [f"{most:+.1f}", f"{100 * t_power(most, sd, n):.0f}%", runs]
        lines.append(f"| {start} ({n}) | {' | '.join(cells)} |")
    head = [
        "| start (runs) | SD over runs | found in 80% | perception reward's most | found in | "
        "runs for 80% |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join(head + lines) if lines else ""


def _left(arm: Arm, before: Row) -> float | None:
    """``outcome_left`` of an arm by what was measured at its start; None where nothing varies.

    The standard deviations are those of all samples. A group's are smaller, and their ratio is
    taken to be the same.
    """
    r = before.coupling.get("within_perception", math.nan)
    if not math.isfinite(r):
        return None
    s_a, s_p = (math.sqrt(x * (1 - x)) for x in (before.figures[m].value for m in ("a", "a_p")))
    if arm.options["credit"] == "normalized":
        s_a = s_p = 1.0
    return outcome_left(arm.options["alpha"], s_a, s_p, r)


def _mixes(arm: Arm) -> bool:
    options = arm.options
    return (
        arm.kind == "grpo"
        and options.keys() == {"credit", "alpha"}
        and not by_segment(options["credit"])
        and options["alpha"] > 0
        and not arm.oracle
    )
