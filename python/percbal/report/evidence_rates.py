"""Learning rates of registered studies: what the tuning chose, and whether the runs have it."""

from __future__ import annotations

from collections.abc import Sequence

from percbal.report.evidence_contrasts import as_row, as_rule
from percbal.study.figure_names import ACCURACIES
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
    """What the tuning chose, and from what: the mean at each rate, and what each base had."""
    choices = list(_choices(lines).values())
    if not choices:
        return ""
    grid = sorted({rate for line in choices for rate in line["means"]}, key=float)
    head = ["arm", *(f"rate {rate}" for rate in grid), "chosen"]
    rows = [as_row(*head), as_rule(head)]
    for line in choices:
        means = [_mean(lines, line, rate) for rate in grid]
        rows.append(as_row(line["arm"], *means, f"{line['rate']:g}"))
    bases = max(len(line["seeds"]) for line in choices)
    figures = dict.fromkeys(str(line["by"]) for line in choices)
    by = ", ".join(ACCURACIES.get(figure, figure) for figure in figures)
    return (
        f"Learning rates, chosen by mean {by} over {bases} base{'' if bases == 1 else 's'} that no "
        f"result uses; percent, of each base in brackets.{_widened(lines)}\n\n" + "\n".join(rows)
    )


def _mean(lines: Sequence[Line], choice: Line, rate: str) -> str:
    """With the value of each base, where its lines are there."""
    if rate not in choice["means"]:
        return ""
    of = {
        x["seed"]: x["figures"].get(choice["by"])
        for x in lines
        if x["kind"] == "tuning"
        and (x["study"], x["arm"]) == (choice["study"], choice["arm"])
        and x["rate"] == float(rate)
    }
    values = [value for seed in choice["seeds"] if (value := of.get(seed)) is not None]
    each = f" ({', '.join(f'{100 * value:.0f}' for value in values)})" if values else ""
    return f"{100 * choice['means'][rate]:.1f}{each}"


def _widened(lines: Sequence[Line]) -> str:
    """Whether choices were made from a smaller grid before, and whether a result was there then, by
    the order of the lines."""
    made = [(i, x) for i, x in enumerate(lines) if x["kind"] == "choice"]
    grids = sorted({tuple(sorted(x["grid"])) for _, x in made}, key=len)
    if len(grids) < 2:
        return ""
    first, last = (", ".join(f"{rate:g}" for rate in grid) for grid in (grids[0], grids[-1]))
    runs = [i for i, x in enumerate(lines) if x["kind"] == "run"]
    before = not runs or max(i for i, _ in made) < runs[0]
    when = "before any result" if before else "when some results were there"
    return f" The grid was {first} first, and was widened to {last} {when}."
