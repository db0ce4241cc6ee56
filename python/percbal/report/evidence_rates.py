"""Learning rates of registered studies: what the tuning chose, and whether the runs have it."""

from __future__ import annotations

from collections.abc import Sequence

from percbal.report.evidence_contrasts import as_row, as_rule
from percbal.study.lines import Line
from percbal.study.presets import PRESETS

Named = tuple[str, str]  # a study and one of its arms


def _choices(lines: Sequence[Line]) -> dict[Named, Line]:
    """Of a grid that was widened the choice from the widest counts."""
    made = [line for line in lines if line["kind"] == "choice"]
    made.sort(key=lambda line: len(line["grid"]))
    return {(line["study"], line["arm"]): line for line in made}


def _tuned_as(study: str, arm: str) -> Named:
    """Whose tuning an arm takes its rate from, by the preset of the study."""
    preset = PRESETS.get(study)
    if preset is None or preset.tuning is None:
        return study, arm
    owners = {each.name: each.rate_of for each in preset.arms}
    return preset.tuning.study, owners.get(arm) or arm


def refuse_other_rates(lines: Sequence[Line]) -> None:
    """ValueError for runs of one arm at several rates, or at one that its tuning did not choose."""
    chosen, seen = _choices(lines), dict[Named, float | None]()
    for line in lines:
        if line["kind"] != "run":
            continue
        name, rate = (line["study"], line["arm"]), line["rate"]
        said = f"{name[0]}: {name[1]} was run at"
        if (first := seen.setdefault(name, rate)) != rate:
            raise ValueError(
                f"{said} several rates, {first} and {rate}: take the lines of all but one away"
            )
        choice = chosen.get(_tuned_as(*name))
        if choice is not None and choice["rate"] != rate:
            raise ValueError(
                f"{said} {rate}, and its tuning chose {choice['rate']}: take the lines of the "
                "other rate away"
            )


def rates(lines: Sequence[Line]) -> str:
    """What the tuning chose, and from what."""
    choices = list(_choices(lines).values())
    if not choices:
        return ""
    grid = sorted({rate for line in choices for rate in line["means"]}, key=float)
    head = ["arm", *(f"rate {rate}" for rate in grid), "chosen"]
    rows = [as_row(*head), as_rule(head)]
    for line in choices:
        means = [f"{100 * line['means'][r]:.1f}" if r in line["means"] else "" for r in grid]
        rows.append(as_row(line["arm"], *means, f"{line['rate']:g}"))
    return "Mean a of the tuning's bases at each learning rate, percent:\n\n" + "\n".join(rows)
