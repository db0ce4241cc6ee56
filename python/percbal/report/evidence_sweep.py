"""The picture of a registered sweep of lambda: seeing, reasoning and both, over the weight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from percbal.report.evidence_gains import bases_of
from percbal.report.plots import STYLE, plt
from percbal.study.figure_names import ROLES
from percbal.study.lines import Line
from percbal.study.presets import PRESETS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STUDY = "sft-lambda"
LOOKS = {  # figure -> colour, line
    "exact_p": ("tab:gray", "-"),
    "a_r": ("tab:orange", "-"),
    "a": ("tab:blue", "-"),
    "greedy_a": ("tab:blue", "--"),
}


def sweep_figure(lines: Sequence[Line]) -> Figure | None:
    """Percent over lambda on a scale of log-odds: a dot for each base, a line through the means,
    and where token-mean weighs perception. None before two values of lambda have a run."""
    of_lambda = {
        arm.options["lam"]: list(bases_of(lines, STUDY, arm.name).values())
        for arm in PRESETS[STUDY].arms
    }
    found = {lam: runs for lam, runs in sorted(of_lambda.items()) if runs}
    if len(found) < 2:
        return None
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(7.5, 3.8))
        for name, (colour, style) in LOOKS.items():
            means = [100 * sum(x[name] for x in runs) / len(runs) for runs in found.values()]
            axes.plot(list(found), means, style, color=colour, lw=1.6, label=ROLES[name])
            for lam, runs in found.items():
                dots = [100 * x[name] for x in runs]
                axes.plot([lam] * len(dots), dots, "o", ms=3, mfc="white", mec=colour, mew=0.7)
        shares = [x["token_share_p.1"] for runs in found.values() for x in runs]
        share = sum(shares) / len(shares)
        axes.axvline(
            share, color="black", lw=0.8, ls=":", label=f"share of the tokens, {share:.2f}"
        )
        axes.set_xscale("logit", one_half="0.5")
        axes.set_xticks(list(found), [f"{lam:g}" for lam in found])
        axes.minorticks_off()
        axes.set_xlabel("lambda, the weight of perception's mean loss (scale of log-odds)")
        axes.set_ylabel("percent")
        axes.legend(fontsize=8, frameon=False, loc="lower center")
        return figure
