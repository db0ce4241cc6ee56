"""What the README says of the main cell: a caption of its picture, with numbers from the lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from percbal.evaluate.intervals import t_interval
from percbal.report.evidence_contrasts import half
from percbal.report.evidence_gains import bases_of, gains
from percbal.study.lines import Line

BEGIN, END = "<!-- results: begin -->\n", "<!-- results: end -->"
PICTURE = "docs/images/results_gains.svg"
FIGURES = {  # of a line -> what a sentence calls its gains
    "a": "End to end, answers drawn at temperature 1",
    "greedy_a": "End to end, greedy",
    "exact_p": "Perception (exact a_p)",
    "a_r": "Reasoning, given the right perception (a_r)",
}


def headline(lines: Sequence[Line], study: str, plain: str, plan: Mapping[str, Any]) -> str:
    """Picture and caption; nothing before two bases have an arm beside ``plain``."""
    beside = bases_of(lines, study, plain)
    arms = [arm for arm in plan["arms"] if arm != plain]
    said = []
    for figure, name in FIGURES.items():
        each = {arm: gains(lines, study, plain, arm, figure) for arm in arms}
        shown = [f"{arm} {_said(values)}" for arm, values in each.items() if len(values) > 1]
        if shown:
            said.append(f"{name}: {', '.join(shown)}.")
    if not said:
        return ""
    levels = [100 * x["a"] for x in beside.values()]
    return "\n".join(
        [
            f"![What each arm gains over {plain}, a dot for each base]({PICTURE})",
            "",
            f"*Points of accuracy more than plain fine-tuning ({plain}, a = "
            f"{sum(levels) / len(levels):.1f}%), on 512 held-out pictures of 4x4 Sudoku, from "
            f"{len(beside)} of {plan['starts']} bases of equal competence, each arm at its own "
            "tuned learning rate; mean ± half of the 95% t interval over bases. "
            f"{' '.join(said)} It is "
            "one model of 0.2M parameters and one task, with perception 17% of the tokens: "
            "[docs/results.md](docs/results.md) has what was predicted before, and every run.*",
            "",
        ]
    )


def _said(values: Sequence[float]) -> str:
    mean = f"{sum(values) / len(values):+.1f}"
    return mean if len(set(values)) < 2 else f"{mean} ±{half(t_interval(values)):.1f}"


def write_headline(readme: Path, text: str) -> None:
    """Between the marks of a README that has them."""
    if text and readme.is_file() and BEGIN in (whole := readme.read_text()):
        before, _, rest = whole.partition(BEGIN)
        readme.write_text(before + BEGIN + text + END + rest.partition(END)[2])
