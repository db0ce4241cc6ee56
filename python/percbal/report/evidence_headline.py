"""What the README says of the main cell: a table below its picture, with numbers from the lines."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from percbal.report.evidence_contrasts import as_row, as_rule, mean_and_half, shown_effect
from percbal.report.evidence_gains import bases_of, bases_with, gains
from percbal.report.evidence_starts import ended
from percbal.report.marked import write_marked
from percbal.study.contrasts import Effect
from percbal.study.figure_names import ACCURACIES, ROLES, TOKEN_SHARE
from percbal.study.lines import Line
from percbal.study.presets import PRESETS
from percbal.study.registration import Contrast

PICTURE = "docs/images/results_gains.svg"
WORDS = "docs/study.md#words-of-the-results"


def headline(
    lines: Sequence[Line], found: Sequence[Effect], study: str, plain: str, plan: Mapping[str, Any]
) -> str:
    """Picture, a sentence, a table and what was not shown; nothing before two bases have an arm
    beside ``plain``."""
    arms = [arm for arm in plan["arms"] if arm != plain]
    gained = {arm: {f: gains(lines, study, plain, arm, f) for f in ROLES} for arm in arms}
    gained = {
        arm: {f: values for f, values in each.items() if len(values) > 1}
        for arm, each in gained.items()
    }
    gained = {arm: each for arm, each in gained.items() if each}
    counts = {len(values) for each in gained.values() for values in each.values()}
    if not counts:
        return ""
    several = len(counts) > 1
    used = set().union(*(bases_with(lines, study, plain, arm) for arm in gained))
    many = f"{min(counts)} to {max(counts)}" if several else str(max(counts))
    columns = [f for f in ROLES if any(f in each for each in gained.values())]
    head = [f"minus {plain}", *(ROLES[f] for f in columns)]
    said = _registered(found, study, plain)
    rows = [
        as_row(arm, *(_said(each.get(f, ()), several, (arm, f) in said) for f in columns))
        for arm, each in gained.items()
    ]
    return "\n".join(
        [
            f"![What each arm gains over {plain}, a dot for each base]({PICTURE})",
            "",
            f"Gain over plain fine-tuning{_level(lines, study, plain, used)} in points: mean ± "
            f"half of the 95% interval over {many} of {plan['starts']} "
            f"[bases]({WORDS}){', their number in brackets' if several else ''} (diamonds; a dot "
            "is one base). A base is a model that has learnt to see a little"
            f"{_competence(lines, study, used)}, and not yet to reason. Perception: the mean "
            "probability that the model gives to the right transcription of the picture. "
            "Reasoning: right answers when the right transcription is given, sampled at "
            "temperature 1. End to end: right answers from the picture alone, sampled or greedy. "
            f"Measured on {PRESETS[study].test_instances} held-out pictures of 4x4 Sudoku, each "
            "arm at its own tuned learning rate. In italics what was not registered.",
            "",
            as_row(*head),
            as_rule(head),
            *rows,
            "",
            f"{_not_equal(found, study)}The interval is over bases; training and test pictures are "
            "the same for all, and the choice of rates is not in it. This is one model of 0.2M "
            f"parameters and one task{_share(lines, study, plain)}, trained for {_length(study)}; "
            "[docs/results.md](docs/results.md) has what was predicted, and every arm.",
            "",
        ]
    )


def _level(lines: Sequence[Line], study: str, plain: str, bases: Collection[str]) -> str:
    """What the gains are added to."""
    own = [100 * x["a"] for base, x in bases_of(lines, study, plain).items() if base in bases]
    return f" ({plain}, a = {sum(own) / len(own):.1f}%)"


def _registered(found: Sequence[Effect], study: str, plain: str) -> set[tuple[str, str]]:
    """Arms and figures whose gain over ``plain`` was a contrast before the runs."""
    own = [x.contrast for x in found if x.contrast.study == study and x.contrast.minus == plain]
    return {(contrast.arm, contrast.figure) for contrast in own if not contrast.scale}


def _length(study: str) -> str:
    recipe = PRESETS[study].sft
    return f"{recipe.steps:,} steps of {recipe.batch_size} rows"


def _share(lines: Sequence[Line], study: str, plain: str) -> str:
    """Of the tokens, where it was measured."""
    own = [x[TOKEN_SHARE] for x in bases_of(lines, study, plain).values() if TOKEN_SHARE in x]
    return f", with perception {sum(own) / len(own):.0%} of the tokens" if own else ""


def _not_equal(found: Sequence[Effect], study: str) -> str:
    """Arms that were predicted to be alike, and were neither shown to be nor to differ."""
    said = [
        f"{x.contrast.arm} against {x.contrast.minus} in {ACCURACIES[x.contrast.figure]} "
        f"({shown_effect(x)})"
        for x in found
        if x.contrast.study == study and x.contrast.predicted == "0" and x.contrast.minus
        if x.contrast.in_points and x.counted and x.sign() == "?" and not x.few
    ]
    margin = f"{100 * Contrast.margin:g}"
    if not said:
        return ""
    return f"Undecided, neither different nor equal within ±{margin} points: {'; '.join(said)}. "


def _competence(lines: Sequence[Line], study: str, bases: Collection[str]) -> str:
    """What the stop rule measured of these bases; nothing where it measured none."""
    ends = [x["figures"].get("exact_p") for name, x in ended(lines, study).items() if name in bases]
    found = [100 * value for value in ends if value is not None]
    if not found:
        return ""
    band = " to ".join(dict.fromkeys(f"{value:.0f}" for value in (min(found), max(found))))
    lacking = f" (measured of {len(found)})" if len(found) < len(bases) else ""
    return f", here an exact a_p of {band}%{lacking}"


def _said(values: Sequence[float], several: bool, registered: bool) -> str:
    """several: arms have other numbers of bases, so that each says its own."""
    if not values:
        return ""
    said = mean_and_half(values, 1, "+") + (f" ({len(values)})" if several else "")
    return said if registered else f"*{said}*"


def write_headline(readme: Path, text: str) -> None:
    """Between the marks of a README, if there is one; what stood there goes, also for no text."""
    if readme.is_file():
        write_marked(readme, "results", text)
