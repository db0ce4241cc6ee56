"""Where a weight on perception helps: what it gains, over what errors of perception cost, in every
cell that was run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from percbal.evaluate.intervals import t_interval
from percbal.report.evidence_contrasts import as_row, as_rule, mean_and_half
from percbal.report.evidence_gains import bases_of, bases_with
from percbal.report.plots import STYLE, plt
from percbal.study.lines import Line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLAIN, WEIGHTED = "token-mean", ("fixed 0.5", "NGDiff")
CELLS = ("sft-sudoku", "sft-coloring", "sft-sudoku-long", "sft-coloring-long")
PICTURE = "results_headroom.svg"
TITLE = "What a weight on perception gains over the headroom that it has, a dot for each base"
SAID = """\
## Where a weight on perception can help

Headroom in perception is a_r - a after token-mean: how much higher a would be if every picture were
seen rightly ([diagnose.md](diagnose.md)). Points, mean ± half of the 95% interval over bases, of
answers sampled at temperature 1. This was asked after the results of sft and sft-coloring
were seen, and before any of sft-long; it is no registered contrast.
Both numbers of a dot contain token-mean's a, so dots of one cell lie along the dotted line in part
by chance alone."""


class Cell(NamedTuple):
    """Points of each base that has all three arms; ``gains`` by arm, in the order of ``room``."""

    study: str
    room: list[float]
    gains: dict[str, list[float]]


def cells_of(lines: Sequence[Line]) -> list[Cell]:
    """Those with two bases or more."""
    found = []
    for study in CELLS:
        runs = {arm: bases_of(lines, study, arm) for arm in (PLAIN, *WEIGHTED)}
        with_all = bases_with(lines, study, PLAIN, *WEIGHTED)
        bases = [base for base, x in runs[PLAIN].items() if base in with_all and "a_r" in x]
        plain = [runs[PLAIN][base] for base in bases]
        if len(bases) > 1:
            room = [100 * (x["a_r"] - x["a"]) for x in plain]
            gains = {
                arm: [
                    100 * (runs[arm][base]["a"] - x["a"])
                    for base, x in zip(bases, plain, strict=True)
                ]
                for arm in WEIGHTED
            }
            found.append(Cell(study, room, gains))
    return found


def headroom_table(cells: Sequence[Cell]) -> str:
    """A row for each cell."""
    head = ["cell", "bases", "headroom", *(f"gain in a, {arm}" for arm in WEIGHTED)]
    rows = [
        as_row(
            cell.study,
            str(len(cell.room)),
            mean_and_half(cell.room, 1),
            *(mean_and_half(cell.gains[arm], 1, "+") for arm in WEIGHTED),
        )
        for cell in cells
    ]
    return "\n".join([as_row(*head), as_rule(head), *rows])


def headroom_figure(cells: Sequence[Cell]) -> Figure:
    """A panel for each arm: gain in a over headroom, means with the t interval of the gain, and
    the line where all headroom is gained."""
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(
            1, len(WEIGHTED), figsize=(8.5, 3.6), sharex=True, sharey=True
        )
        most = max(max(cell.room) for cell in cells)
        for axes, arm in zip(panels, WEIGHTED, strict=True):
            axes.plot([0, most], [0, most], ":", color="black", lw=1, label="all of the headroom")
            axes.axhline(0, color="black", lw=0.8)
            for number, cell in enumerate(cells):
                own, colour = cell.gains[arm], f"C{number}"
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
