"""The means of every arm of a registered study, and what they gain over one of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from percbal.report.evidence_contrasts import as_row, as_rule, mean_and_half
from percbal.report.evidence_gains import gains
from percbal.study.figure_names import ACCURACIES, TOKEN_SHARE, accuracies, is_of_a_third, others
from percbal.study.lines import Line, results
from percbal.study.presets import PRESETS
from percbal.study.registration import Registration

FEW = 5  # starts whose values are listed
GAINED = ("greedy_a_r", "a_r", "exact_p", "a", "greedy_a")


def level_tables(registration: Registration, lines: Sequence[Line]) -> list[str]:
    """Of every study the means of every arm over its starts, ± half of a t interval."""
    tables = []
    for study, plan in registration.planned.items():
        runs = [x for x in results(lines) if x["study"] == study and x["figures"]]
        names = {name for x in runs for name in x["figures"]}
        percent, shares = accuracies(names), others(names)
        if percent:
            rows = _means(plan["arms"], runs, percent, 100, 1)
            tables.append(f"Percent, mean over the starts of {study}{_uneven(runs)}:\n\n{rows}")
        if shares:
            share = _same_for_all(runs, shares)
            if share:
                shares.pop(TOKEN_SHARE)
            rows = _means(plan["arms"], runs, shares, 1, 2) if shares else ""
            note = _without_thirds(runs) if any(map(is_of_a_third, shares)) else ""
            tables.append(f"Other figures, mean over the starts of {study}.{share}\n\n{rows}{note}")
    return tables


def _means(
    arms: Sequence[str], runs: Sequence[Line], columns: Mapping[str, str], times: int, digits: int
) -> str:
    head = ["arm", "starts", *columns.values()]
    rows = [as_row(*head), as_rule(head)]
    for arm in arms:
        own = sorted((x for x in runs if x["arm"] == arm), key=lambda x: x["seed"])
        shown = [[x["figures"][f] for x in own if _shows(x, f)] for f in columns]
        rows.append(as_row(arm, str(len(own)), *(level(x, times, digits) for x in shown)))
    return "\n".join(rows)


def _uneven(runs: Sequence[Line]) -> str:
    """A warning where arms have other starts, which no difference of two rows allows for."""
    starts: dict[str, set[str]] = {}
    for line in runs:
        starts.setdefault(line["arm"], set()).add(line["start"])
    if len({frozenset(own) for own in starts.values()}) < 2:
        return ""
    return " (arms have different starts so far, so compare them by the contrasts only)"


def _shows(line: Line, figure: str) -> bool:
    return figure in line["figures"] and not (is_of_a_third(figure) and _by_entries(line))


def _by_entries(line: Line) -> bool:
    """Whether its thirds are of the entries of a log of two trainings: both were logged as often,
    so that thirds of the entries are none of the steps."""
    preset = PRESETS.get(line["study"])
    in_two = {arm.name for arm in preset.arms if arm.first} if preset else set()
    return line["arm"] in in_two and line.get("thirds") != "steps"


def _without_thirds(runs: Sequence[Line]) -> str:
    found = Counter(x["arm"] for x in runs if _by_entries(x))
    return "".join(
        f"\n\nThirds are left out of runs of {arm} ({n}): both of its trainings were logged as "
        "often, whatever their lengths, and these thirds are of the log's entries, not of the "
        "steps."
        for arm, n in found.items()
    )


def _same_for_all(runs: Sequence[Line], columns: Mapping[str, str]) -> str:
    """The share of the tokens in a sentence, where it is the same in all runs as it is shown."""
    shown = {f"{x['figures'][TOKEN_SHARE]:.2f}" for x in runs if TOKEN_SHARE in x["figures"]}
    if len(shown) != 1:
        return ""
    return f" Perception's {columns[TOKEN_SHARE]} is {shown.pop()} in all runs."


def level(values: Sequence[float], times: int, digits: int, sign: str = "") -> str:
    """Mean ± half of the t interval. Of a few starts the values themselves, in their order: of four
    of which one is far from the others an interval is wider than the scale.

    sign: ``+`` also marks what is above 0.
    """
    if not values:
        return ""
    scaled = [times * value for value in values]
    if len(values) > FEW:
        return mean_and_half(scaled, digits, sign)
    mean = f"{sum(scaled) / len(scaled):{sign}.{digits}f}"
    shown = [f"{value:{sign}.{digits}f}" for value in scaled]
    return mean if set(shown) == {mean} else f"{mean} ({', '.join(shown)})"


def gains_table(lines: Sequence[Line], study: str, plain: str, arms: Sequence[str]) -> str:
    """What each arm has more than ``plain`` in every accuracy; nothing before any base has both."""
    found = {
        arm: [gains(lines, study, plain, arm, figure) for figure in GAINED]
        for arm in arms
        if arm != plain
    }
    if not any(any(each) for each in found.values()):
        return ""
    head = ["arm", "bases", *(ACCURACIES[figure] for figure in GAINED)]
    rows = [as_row(*head), as_rule(head)]
    for arm, each in found.items():
        bases = str(max(len(values) for values in each))
        rows.append(as_row(arm, bases, *(level(values, 1, 1, "+") for values in each)))
    title = f"Gains over {plain} in every accuracy, in points, not registered"
    return f"{title} (those that are have their p and verdict above):\n\n" + "\n".join(rows)
