"""What the arms of a study gain over one of them from the same base, of which caption and picture
of the main cell are made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from percbal.study.lines import Line, results


def bases_of(lines: Sequence[Line], study: str, arm: str) -> dict[str, dict[str, Any]]:
    """Start -> figures of the arm's run from it."""
    runs = [x for x in results(lines) if (x["study"], x["arm"]) == (study, arm)]
    return {x["start"]: x["figures"] for x in runs if x["figures"]}


def bases_with(lines: Sequence[Line], study: str, *arms: str) -> set[str]:
    """Starts that have a run of each of the arms."""
    return set.intersection(*(set(bases_of(lines, study, arm)) for arm in arms))


def gains(lines: Sequence[Line], study: str, plain: str, arm: str, figure: str) -> list[float]:
    """Points that the arm has more than ``plain``, for each base that has the figure of both."""
    beside = bases_of(lines, study, plain)
    own = bases_of(lines, study, arm)
    both = [
        (x.get(figure), beside[start].get(figure)) for start, x in own.items() if start in beside
    ]
    return [100 * (ours - base) for ours, base in both if ours is not None and base is not None]
