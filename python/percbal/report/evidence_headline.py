"""What the README says of the main cell: a caption of its picture, with numbers from the lines."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from percbal.evaluate.intervals import t_interval
from percbal.report.evidence_contrasts import half
from percbal.report.evidence_gains import bases_of, bases_with, gains
from percbal.report.evidence_starts import ended
from percbal.report.marked import write_marked
from percbal.study.lines import Line

PICTURE = "docs/images/results_gains.svg"
FIGURES = {  # of a line -> what a sentence calls its gains
    "a": "End to end, answers drawn at temperature 1",
    "greedy_a": "End to end, greedy",
    "exact_p": "Perception (exact a_p)",
    "a_r": "Reasoning, given the right perception (a_r)",
}


def headline(lines: Sequence[Line], study: str, plain: str, plan: Mapping[str, Any]) -> str:
    """Picture and caption; nothing before two bases have an arm beside ``plain``."""
    arms = [arm for arm in plan["arms"] if arm != plain]
    found = {
        name: {arm: values for arm in arms if len(values := gains(lines, study, plain, arm, f)) > 1}
        for f, name in FIGURES.items()
    }
    counts = {len(values) for each in found.values() for values in each.values()}
    if not counts:
        return ""
    several = len(counts) > 1
    said = [
        f"{name}: {', '.join(f'{arm} {_said(values, several)}' for arm, values in each.items())}."
        for name, each in found.items()
        if each
    ]
    shown = {arm for each in found.values() for arm in each}
    used = set().union(*(bases_with(lines, study, plain, arm) for arm in shown))
    levels = [100 * x["a"] for base, x in bases_of(lines, study, plain).items() if base in used]
    many = f"{min(counts)} to {max(counts)}" if several else str(max(counts))
    return "\n".join(
        [
            f"![What each arm gains over {plain}, a dot for each base]({PICTURE})",
            "",
            f"*Points of accuracy more than plain fine-tuning ({plain}, a = "
            f"{sum(levels) / len(levels):.1f}%), on 512 held-out pictures of 4x4 Sudoku, from "
            f"{many} of {plan['starts']} bases{_competence(lines, study, used)}"
            f"{' (the number of bases in brackets)' if several else ''}, each arm at its own "
            "tuned learning rate; mean ± half of the 95% t interval over bases. "
            f"{' '.join(said)} It is "
            "one model of 0.2M parameters and one task, with perception 17% of the tokens: "
            "[docs/results.md](docs/results.md) has what was predicted before, and every run.*",
            "",
        ]
    )


def _competence(lines: Sequence[Line], study: str, bases: Collection[str]) -> str:
    """What the stop rule measured of these bases; nothing where it measured none."""
    ends = [x["figures"].get("exact_p") for name, x in ended(lines, study).items() if name in bases]
    found = [100 * value for value in ends if value is not None]
    if not found:
        return ""
    band = " to ".join(dict.fromkeys(f"{value:.0f}" for value in (min(found), max(found))))
    lacking = f" (measured of {len(found)})" if len(found) < len(bases) else ""
    return f" that began with an exact a_p of {band}%{lacking}"


def _said(values: Sequence[float], several: bool) -> str:
    """several: arms have other numbers of bases, so that each says its own."""
    said = f"{sum(values) / len(values):+.1f}"
    if len(set(values)) > 1:
        said += f" ±{half(t_interval(values)):.1f}"
    return said + (f" ({len(values)})" if several else "")


def write_headline(readme: Path, text: str) -> None:
    """Between the marks of a README, if there is one; what stood there goes, also for no text."""
    if readme.is_file():
        write_marked(readme, "results", text)
