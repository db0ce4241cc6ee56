"""The plots of a study, as matplotlib figures; colours mean the same arm in all of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  after the choice of a backend without a screen

from percbal.evaluate.names import METRICS  # noqa: E402
from percbal.study.plan import START  # noqa: E402
from percbal.study.results import Results, Row  # noqa: E402

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

History = dict[str, list[list[dict[str, Any]]]]  # arm -> per run -> logged dicts
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "svg.fonttype": "none",
    "figure.constrained_layout.use": True,
}
MEANINGS = ["a\nend to end", "a_p\nperception", "a_r\nreasoning, told what is shown"]
# what the trainers log, its title, and the scale: a panel for each that is there
PANELS = (
    ("loss_p", "perception loss per token", "log"),
    ("loss_r", "reasoning loss per token", "log"),
    ("lambda", "lambda, weight of perception", "share"),
    ("token_share_p", "perception's share of the tokens", "share"),
    ("loss_share_p", "perception's share of the loss", "share"),
    ("rewards/outcome/mean", "outcome reward", "share"),
    ("rewards/perception/mean", "perception reward", "share"),
    ("alpha", "alpha, weight of the perception reward", "share"),
)


def colours(results: Results) -> dict[str, Any]:
    """One colour for each arm."""
    palette = plt.get_cmap("tab20" if len(results.rows) > 10 else "tab10")
    arms = dict.fromkeys(row.arm for row in results.rows if row.arm != START)
    return {START: "black"} | {arm: palette(i) for i, arm in enumerate(arms)}


def accuracy_figure(results: Results, start: str) -> Figure:
    """a, a_p and a_r of every arm from a population of starts, or its changes: bars with 95%
    intervals, a dot for each run."""
    rows = [row for row in results.rows if row.start == start]
    rows = [row for row in rows if row.changes] or rows
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(7.5, 3.4))
        shades = colours(results)
        for i, row in enumerate(rows):
            _bars(axes, row, (i - (len(rows) - 1) / 2) * 0.8 / len(rows), 0.8 / len(rows), shades)
        axes.set_xticks(range(3), MEANINGS)
        if rows[0].changes:
            axes.set_ylabel("change, points")
            axes.axhline(0, color="black", lw=0.8)
        else:
            axes.set_ylabel("accuracy, %")
            axes.set_ylim(0, 100)
        axes.grid(axis="x", visible=False)
        axes.legend(
            frameon=False, ncols=min(4, len(rows)), loc="lower left", bbox_to_anchor=(0, 1.0)
        )
        return figure


def _bars(axes: Axes, row: Row, shift: float, width: float, shades: dict[str, Any]) -> None:
    for j, metric in enumerate(METRICS):
        value, low, high = (100 * x for x in row.figures[metric])
        x = j + shift
        label = row.arm if j == 0 else None
        axes.bar(x, value, width * 0.92, color=shades[row.arm], alpha=0.75, label=label)
        axes.errorbar(x, value, [[value - low], [high - value]], color="black", capsize=3, lw=1)
        dots = [100 * run for run in row.by_run[metric]]
        axes.plot([x] * len(dots), dots, "o", ms=3.5, mfc="white", mec="black", mew=0.8)


def training_figure(results: Results, history: History) -> Figure | None:
    """What was logged, over the steps; a line for each run. None where nothing was."""
    logged = {key for runs in history.values() for logs in runs for log in logs for key in log}
    panels = [panel for panel in PANELS if panel[0] in logged]
    if not panels:
        return None
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    shades = colours(results)
    with plt.rc_context(STYLE):
        size = (3.5 * columns, 3.0 * rows)
        figure, grid = plt.subplots(rows, columns, figsize=size, squeeze=False)
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        for axes, (key, title, scale) in zip(grid.flat, panels, strict=False):
            for arm, runs in history.items():
                for logs in runs:
                    points = [(log["step"], float(log[key])) for log in logs if key in log]
                    if points:
                        axes.plot(*zip(*points, strict=True), color=shades[arm], lw=1.2, alpha=0.8)
            axes.set_title(title, fontsize=10)
            axes.set_xlabel("step")
            if scale == "log":
                axes.set_yscale("log")
            else:
                axes.set_ylim(0, 1)
        return figure


def write_svg(figure: Figure, path: Path) -> None:
    """The same bytes for the same figure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with plt.rc_context({**STYLE, "svg.hashsalt": "percbal"}):
        figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
