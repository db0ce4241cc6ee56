"""What weights on perception gain, beside the headroom in perception that plain fine-tuning leaves,
in every cell that was run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from percbal.evaluate.intervals import t_interval
from percbal.report.evidence_contrasts import as_row, as_rule, mean_and_half
from percbal.report.evidence_gains import bases_of
from percbal.report.plots import STYLE, plt
from percbal.study.lines import Line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLAIN, WEIGHTED = "token-mean", ("fixed 0.5", "NGDiff")
CELLS = ("sft-sudoku", "sft-coloring", "sft-sudoku-long", "sft-coloring-long")
PICTURE = "results_headroom.svg"
TITLE = "Gain in a and the headroom in perception that token-mean leaves, a dot for each base"
SAID = """\
## Gains and headroom

*Headroom* in perception is a_r - a: how much higher a would be if every picture were seen rightly
([diagnose.md](diagnose.md)). So what an arm gains in a is what it gains in a_r, and the headroom
that it uses: that of token-mean minus its own. Points, mean ± half of the 95% interval over bases,
of answers sampled at temperature 1. No contrast that was registered; it was asked after sft and
sft-coloring were seen. Cells differ in much else than headroom."""
CAPTION = """\
The dotted line is where all of the headroom is gained. Both numbers of a dot contain token-mean's
a, so that the dots of one cell rise together in part by chance."""


class Gained(NamedTuple):
    """What an arm has more than token-mean, points of each base: in a = in a_r + headroom used."""

    a: list[float]
    a_r: list[float]
    used: list[float]


class Cell(NamedTuple):
    """room: headroom after token-mean, points of each base that has all arms. gained: by arm, in
    the order of ``room``."""

    study: str
    room: list[float]
    gained: dict[str, Gained]


def cells_of(lines: Sequence[Line]) -> list[Cell]:
    """Those with two bases or more that have both figures of all three arms."""
    found = []
    for study in CELLS:
        runs = {arm: bases_of(lines, study, arm) for arm in (PLAIN, *WEIGHTED)}
        whole = [
            {arm: own[base] for arm, own in runs.items() if base in own and _has(own[base])}
            for base in runs[PLAIN]
        ]
        bases = [each for each in whole if len(each) == len(runs)]
        if len(bases) > 1:
            room = [_points(each[PLAIN], "a_r") - _points(each[PLAIN], "a") for each in bases]
            found.append(Cell(study, room, {arm: _gained(bases, arm) for arm in WEIGHTED}))
    return found


def _has(figures: Mapping[str, float | None]) -> bool:
    return figures.get("a") is not None and figures.get("a_r") is not None


def _points(figures: Mapping[str, float], name: str) -> float:
    return 100 * figures[name]


def _gained(bases: Sequence[Mapping[str, Mapping[str, float]]], arm: str) -> Gained:
    a, a_r = (
        [_points(each[arm], name) - _points(each[PLAIN], name) for each in bases]
        for name in ("a", "a_r")
    )
    return Gained(a, a_r, [whole - reasoning for whole, reasoning in zip(a, a_r, strict=True)])


def headroom_table(cells: Sequence[Cell]) -> str:
    """A row for each cell and arm."""
    head = ["cell", "bases", "headroom", "arm", "gain in a", "of it in a_r", "headroom used"]
    rows = [
        as_row(
            cell.study,
            str(len(cell.room)),
            mean_and_half(cell.room, 1),
            arm,
            *(mean_and_half(values, 1, "+") for values in gained),
        )
        for cell in cells
        for arm, gained in cell.gained.items()
    ]
    return "\n".join([as_row(*head), as_rule(head), *rows])


def headroom_figure(cells: Sequence[Cell]) -> Figure:
    """A panel for each arm: gain in a over headroom, means with the t interval of the gain, and
    the line where all headroom is gained."""
    with plt.rc_context(STYLE):
        size = (8.5, 3.6)
        figure, panels = plt.subplots(1, len(WEIGHTED), figsize=size, sharex=True, sharey=True)
        most = max(max(cell.room) for cell in cells)
        for axes, arm in zip(panels, WEIGHTED, strict=True):
            axes.plot([0, most], [0, most], ":", color="black", lw=1, label="all of the headroom")
            axes.axhline(0, color="black", lw=0.8)
            for number, cell in enumerate(cells):
                own, colour = cell.gained[arm].a, f"C{number}"
                axes.plot(cell.room, own, "o", ms=3, mfc="white", mec=colour, mew=0.7)
                mean, low, high = t_interval(own)
                axes.errorbar(
                    sum(cell.room) / len(cell.room),
                    mean,
                    yerr=[[mean - low], [high - mean]],
                    fmt="D",
                    ms=5,
                    color=colour,
                    capsize=3,
                    label=cell.study,
                )
            axes.set_title(f"{arm} minus {PLAIN}", fontsize=9)
        panels[0].legend(fontsize=8, frameon=False)
        figure.supxlabel(f"headroom in perception after {PLAIN}, a_r - a, points", fontsize=9)
        figure.supylabel("gain in a, points", fontsize=9)
        return figure
