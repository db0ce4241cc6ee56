"""The pictures of registered studies: gains over plain fine-tuning, contrasts, doses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from percbal.evaluate.intervals import t_interval
from percbal.report.evidence_gains import bases_with, gains
from percbal.report.plots import STYLE, plt
from percbal.study.contrasts import NOT_YET, Effect
from percbal.study.doses import Dose
from percbal.study.figure_names import ROLES
from percbal.study.lines import Line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def gains_figure(
    lines: Sequence[Line], study: str, plain: str, arms: Sequence[str]
) -> Figure | None:
    """What each of the arms gains over the arm ``plain`` from the same base, a panel for each
    accuracy: a dot for each base, and the mean with its 95% t interval. None before any base has
    both."""
    arms = [arm for arm in arms if arm != plain]
    found = {(arm, name): gains(lines, study, plain, arm, name) for arm in arms for name in ROLES}
    if not any(found.values()):
        return None
    with plt.rc_context(STYLE):
        size = (8.5, 1.3 + 0.42 * len(arms))
        figure, panels = plt.subplots(1, len(ROLES), figsize=size, sharey=True, sharex=True)
        for axes, (name, title) in zip(panels, ROLES.items(), strict=True):
            for row, arm in enumerate(arms):
                own = found[arm, name]
                _spread(axes, row, own, "tab:blue" if name.endswith("a") else "tab:gray")
            axes.axvline(0, color="black", lw=0.8)
            axes.set_title(title.replace(" (", "\n("), fontsize=9)
            axes.grid(axis="y", visible=False)
        counts = [len(bases_with(lines, study, plain, arm)) for arm in arms]
        alike = len(set(counts)) == 1
        names = arms if alike else [f"{a} ({n})" for a, n in zip(arms, counts, strict=True)]
        panels[0].set_yticks(range(len(arms)), names)
        panels[0].set_ylim(len(arms) - 0.4, -0.6)
        many = f", {counts[0]} bases" if alike else "; in brackets the number of bases"
        figure.supxlabel(f"points more than {plain}{many}", fontsize=9)
        return figure


def effects_figure(found: Sequence[Effect]) -> Figure:
    """Every contrast with its t interval, uncorrected, and a dot for each start. Primary ones are
    blue; what is not complete is pale, and says how many starts it has."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(8.5, 0.9 + 0.38 * len(found)))
        names = []
        for row, effect in enumerate(found):
            colour = "tab:blue" if effect.contrast.primary else "tab:gray"
            open_ = effect.verdict() == NOT_YET
            _spread(axes, row, [100 * x for x in effect.values], colour, 0.4 if open_ else 1.0)
            seen = f" ({len(effect.values)} of {effect.planned})" if open_ else ""
            names.append(effect.contrast.name + seen)
        axes.axvline(0, color="black", lw=0.8)
        axes.set_yticks(range(len(found)), names)
        axes.set_ylim(len(found) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        figure.supxlabel("points (of correlations and shares: hundredths)", fontsize=9)
        return figure


def _spread(axes: Axes, row: int, values: Sequence[float], colour: str, alpha: float = 1.0) -> None:
    """A dot for each value, and their mean with its t interval where they differ."""
    below = [row + 0.27] * len(values)
    axes.plot(values, below, "o", ms=3, mfc="white", mec=colour, mew=0.7, alpha=alpha)
    if len(set(values)) > 1:
        mean, low, high = t_interval(values)
        error = [[mean - low], [high - mean]]
        axes.errorbar(mean, row, xerr=error, fmt="D", ms=5, color=colour, capsize=3, alpha=alpha)


def dose_figure(found: Sequence[Dose]) -> Figure:
    """Gain in log-odds of a_p over the reward's correlation with the truth: the curve of flipped
    verdicts, the surrogates beside it, t intervals over starts."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(7.5, 4.2))
        curve = [dose for dose in found if dose.on_curve]
        means = [sum(dose.gain) / len(dose.gain) for dose in curve]
        axes.plot([d.mean_r() for d in curve], means, color="tab:gray", lw=1.2, zorder=1)
        for dose in found:
            colour = "tab:gray" if dose.on_curve else "tab:red"
            x, y = dose.mean_r(), sum(dose.gain) / len(dose.gain)
            axes.plot(dose.r, dose.gain, "o", ms=3, mfc="white", mec=colour, mew=0.7)
            interval = dose.interval()
            if interval is not None:
                error = [[y - interval.low], [interval.high - y]]
                axes.errorbar(x, y, yerr=error, fmt="D", ms=5, color=colour, capsize=3)
            low, high = (interval.low, interval.high) if interval else (y, y)
            axes.annotate(  # below the interval, or above that of a reward beside the curve
                dose.arm,
                (x, low if dose.on_curve else high),
                (0, -11 if dose.on_curve else 5),
                textcoords="offset points",
                ha="center",
                fontsize=7,
                color=colour,
            )
        axes.axhline(0, color="black", lw=0.8)
        axes.set_xlabel("correlation of the reward with true perception, within a group")
        axes.set_ylabel("gain in log-odds of exact a_p")
        return figure
