"""The plots of a study, as matplotlib figures; colours mean the same arm in all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  after the choice of a backend without a screen

from percbal.evaluate.diagnose import METRICS  # noqa: E402
from percbal.study.results import Results  # noqa: E402

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

History = dict[str, list[list[dict[str, Any]]]]  # arm -> per seed -> logged dicts
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "svg.fonttype": "none",
    "figure.constrained_layout.use": True,
}


def colours(results: Results) -> dict[str, Any]:
    """One colour per arm."""
    palette = plt.get_cmap("tab10")
    return {arm.name: palette(i % 10) for i, arm in enumerate(results.arms)}


def accuracy_figure(results: Results) -> Figure:
    """a, a_p and a_r of every arm: bars with 95% intervals, one dot per seed."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(7.5, 3.4))
        shades, width = colours(results), 0.8 / len(results.arms)
        for i, arm in enumerate(results.arms):
            for j, metric in enumerate(METRICS):
                value, low, high = (100 * x for x in arm.accuracy[metric])
                x = j + (i - (len(results.arms) - 1) / 2) * width
                label = arm.name if j == 0 else None
                axes.bar(x, value, width * 0.92, color=shades[arm.name], alpha=0.75, label=label)
                axes.errorbar(
                    x, value, [[value - low], [high - value]], color="black", capsize=3, lw=1
                )
                dots = [100 * seed for seed in arm.by_seed[metric]]
                axes.plot([x] * len(dots), dots, "o", ms=3.5, mfc="white", mec="black", mew=0.8)
        axes.set_xticks(
            range(3), ["a\nend to end", "a_p\nperception", "a_r\nreasoning, given the true grid"]
        )
        axes.set_ylabel("accuracy, %")
        axes.set_ylim(0, 100)
        axes.grid(axis="x", visible=False)
        axes.legend(
            frameon=False,
            ncols=min(4, len(results.arms)),
            loc="lower left",
            bbox_to_anchor=(0, 1.0),
        )
        return figure


def training_figure(results: Results, history: History) -> Figure:
    """Per-token losses of both segments, and lambda, over the steps."""
    panels = (
        ("loss_p", "perception loss per token", True),
        ("loss_r", "reasoning loss per token", True),
        ("lambda", "lambda, weight of perception", False),
    )
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(1, 3, figsize=(10.5, 3.0))
        for axes, (key, title, logarithmic) in zip(grid, panels, strict=True):
            _curves(axes, results, history, key)
            axes.set_title(title, fontsize=10)
            axes.set_xlabel("step")
            axes.set_yscale("log" if logarithmic else "linear")
        grid[2].set_ylim(0, 1)
        return figure


def share_figure(results: Results, history: History) -> Figure:
    """Perception's share of the tokens, and of the loss, over the steps."""
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(1, 2, figsize=(7.5, 3.0), sharey=True)
        for axes, key, title in zip(
            grid,
            ("token_share_p", "loss_share_p"),
            ("perception's share of the tokens", "perception's share of the loss"),
            strict=True,
        ):
            _curves(axes, results, history, key)
            axes.set_title(title, fontsize=10)
            axes.set_xlabel("step")
            axes.set_ylim(0, 1)
        return figure


def _curves(axes: Axes, results: Results, history: History, key: str) -> None:
    shades = colours(results)
    for arm, seeds in history.items():
        for number, logs in enumerate(seeds):
            points = [(log["step"], float(log[key])) for log in logs if key in log]
            if points:
                label = arm if number == 0 else None
                axes.plot(
                    *zip(*points, strict=True), color=shades[arm], lw=1.2, alpha=0.8, label=label
                )
