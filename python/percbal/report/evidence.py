"""docs/results.md and its pictures, from what was said beforehand and the committed lines.

Nothing here is typed: every number comes from a line, every verdict from a rule of
`percbal.study.contrasts`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from percbal.evaluate.intervals import Interval
from percbal.report.plots import dose_figure, effects_figure, write_svg
from percbal.study.contrasts import NOT_YET, Effect, effects
from percbal.study.doses import dose_table, doses
from percbal.study.foretold import foretold, foretold_table
from percbal.study.lines import Line, read_lines, results
from percbal.study.machine import kind_of
from percbal.study.registration import Contrast, Registration, read_registration

INTRODUCTION = """# Results

*Made by `percbal study --page docs` from the committed lines of [results/](results) and from what
was said before the runs in [studies/](studies); a test makes it again and compares.
[study.md](study.md) explains the terms and how to add runs.*

Each row is a difference that was named beforehand, with the sign that was expected and how likely
we held it to be significant. Effects are in points of accuracy; correlations, shares and log-odds
(of exact a_p under GRPO) are as they are: the mean of one difference for each start, ± half of
Student's 95% t interval over starts. p is that of t over three starts or more, for primary
contrasts (**bold**) corrected by Holm, where a contrast that is not complete counts as 1 for the
others. "Starts" counts those that have the difference, of those planned; starts that missed their
competence stand below. The verdict is on the paper's finding (arXiv:2605.29496) and follows a rule:

- *reproduced*: significant, with the paper's sign;
- *direction only*: the paper's sign, not significant, and not shown to be as good as 0 either;
- *not reproduced*: none of these;
- *no finding of the paper*: the paper says nothing of it, or gives no sign;
- *too few starts*: fewer than half of the planned starts, or than three, have the difference;
- *no start*: every planned start missed its competence;
- *cannot be tested here*: said beforehand, and why;
- *not run yet*: not all planned starts have their runs. What is there so far is no verdict. A
  primary contrast that is not significant waits for the others, too: as they come, Holm's p of it
  can become smaller and never larger, so that no verdict changes once it stands here.
"""
PICTURE, DOSES = "results_effects.svg", "results_dose.svg"
HALF_WIDTH = 0.04  # the half-width of an interval that a main cell should have


def write_page(docs: Path) -> Path:
    """Write ``results.md`` and ``images/results_*.svg`` of a docs folder; return the page.

    Raises ValueError for a line of another registration.
    """
    registrations = map(read_registration, (docs / "studies").glob("*.yaml"))
    studies = [
        (said, read_lines(docs / "results" / f"{said.name}.jsonl"))
        for said in sorted(registrations, key=lambda said: min(said.findings))
    ]
    found = [(said, lines, effects(said, lines)) for said, lines in studies]
    # log-odds and rank correlations have another axis: that of the doses
    values = [x for *_, each in found for x in each if x.values]
    shown = [x for x in values if not (x.contrast.scale or x.contrast.ranks)]
    parts = [INTRODUCTION]
    if shown:
        write_svg(effects_figure(shown), docs / "images" / PICTURE)
        parts.append(f"![Contrasts with their intervals, a dot for each start](images/{PICTURE})")
    for said, lines, each in found:
        parts += [_study(said, lines, each)]
        if said.said.get("dose"):
            points = doses(lines)
            if points:
                write_svg(dose_figure(points), docs / "images" / DOSES)
                parts.append(f"![What a reward's correlation with the truth buys](images/{DOSES})")
            parts += [dose_table(points), foretold_table(foretold(lines))]
    page = docs / "results.md"
    page.write_text("\n\n".join(part.strip() for part in parts if part) + "\n")
    return page


def _study(said: Registration, lines: Sequence[Line], found: Sequence[Effect]) -> str:
    """One registered study: its findings, and what was run."""
    blocks = [
        f"## {said.said['title']}",
        f"Said beforehand: [{said.name}.yaml](studies/{said.name}.yaml), hash `{said.hash}`.",
    ]
    for number, finding in said.findings.items():
        rows = [effect for effect in found if effect.contrast.finding == number]
        if rows:
            blocks.append("\n".join([f"**{finding}**", "", *_rows(rows)]))
    own = [effect for effect in found if not effect.contrast.finding]
    if own:
        blocks.append("\n".join(["**Beyond the paper**", "", *_rows(own)]))
    return "\n\n".join([*blocks, _ran(said, lines), _rates(lines)]).strip()


def _rows(found: Sequence[Effect]) -> list[str]:
    head = ["difference", "effect", "p", "starts", "starts for ±4", "expected", "seen", "verdict"]
    return [_line(*head), "|---" * len(head) + "|", *(_row(effect) for effect in found)]


def _row(effect: Effect) -> str:
    contrast = effect.contrast
    name = f"**{contrast.name}**" if contrast.primary else contrast.name
    if contrast.reason:
        return _line(name, "", "", "", "", "", "", f"{effect.verdict()}: {contrast.reason}")
    chance = "" if contrast.chance is None else f" ({contrast.chance:.0%})"
    p = effect.p if effect.holm is None else effect.holm
    lacking = f", {effect.undefined} without the figure" if effect.undefined else ""
    return _line(
        name,
        shown_effect(effect),
        "" if p is None else f"{p:.3f}" if p >= 0.001 else "<0.001",
        f"{len(effect.values)} of {effect.planned}{lacking}",
        _needed(effect),
        f"{contrast.predicted}{chance}",
        "" if effect.verdict() == NOT_YET else effect.foretold(),
        effect.verdict(),
    )


def in_points(contrast: Contrast) -> bool:
    """Whether the figure is an accuracy, which is shown in percent."""
    others = ("r_", "signal_", "loss_share", "token_share", "lambda")
    return not (contrast.scale or contrast.ranks or contrast.figure.startswith(others))


def shown_effect(effect: Effect) -> str:
    """``+3.1 ±2.0``; without a half-width for one start, nothing for none."""
    if effect.mean is None:
        return ""
    times, digits = (100, 1) if in_points(effect.contrast) else (1, 2)
    interval = effect.interval
    half = "" if interval is None else f" ±{times * _half(interval):.{digits}f}"
    return f"{times * effect.mean:+.{digits}f}{half}"


def _half(interval: Interval) -> float:
    return interval.high - interval.value


def _needed(effect: Effect) -> str:
    """How many starts an interval of ±4 points takes, by the standard deviation that was seen."""
    from scipy import stats

    if effect.interval is None or not in_points(effect.contrast):
        return ""
    n = len(effect.values)
    sd = _half(effect.interval) / stats.t.ppf(0.975, n - 1) * math.sqrt(n)
    for k in range(2, 1000):
        if stats.t.ppf(0.975, k - 1) * sd / math.sqrt(k) <= HALF_WIDTH:
            return str(k)
    return "1000+"


def _ran(said: Registration, lines: Sequence[Line]) -> str:
    """Runs that are there, of those planned, and what became of them."""
    head = ["study", "arm", "runs", "no start", "diverged", "below the floor", "seconds a run"]
    rows = [_line(*head), "|---" * len(head) + "|"]
    for study, plan in said.planned.items():
        for arm in plan["arms"]:
            runs = [x for x in results(lines) if (x["study"], x["arm"]) == (study, arm)]
            ends = Counter(line["status"].split(":")[0] for line in runs)
            times = [sum(line["seconds"].values()) for line in runs if line["seconds"]]
            seconds = f"{sum(times) / len(times):.0f}" if times else ""
            counts = [str(ends[status]) for status in ("no start", "diverged", "below the floor")]
            rows.append(_line(study, arm, f"{len(runs)} of {plan['starts']}", *counts, seconds))
    repeats = [line for line in lines if line["kind"] == "repeat"]
    equal = sum(line["equal"]["figures"] for line in repeats)
    machines = sorted({line["machine"]["processor"] for line in lines if "machine" in line})
    torch = sorted({line["versions"]["torch"] for line in lines if "versions" in line})
    ran = f"on {'; '.join(machines)}; torch {', '.join(torch)}" if machines else "none so far"
    said_again = (
        f"One run in twenty is made twice on the same kind of machine: {equal} of {len(repeats)} "
        f"had all figures equal bit for bit. Runs: {ran}."
    )
    return "\n".join(rows) + "\n\n" + said_again + _mixed(results(lines))


def _mixed(runs: Sequence[Line]) -> str:
    """How many starts have runs of several kinds of processors, or of other weights."""
    found: dict[tuple[str, str], list[Line]] = {}
    for line in runs:
        found.setdefault((line["study"], line["start"]), []).append(line)
    kinds = sum(
        any("also" in line["machine"] for line in own) or len({str(kind_of(x)) for x in own}) > 1
        for own in found.values()
    )
    weights = sum(len({line["weights"] for line in own}) > 1 for own in found.values())
    sources = len({line["versions"].get("sources") for line in runs})
    if not runs:
        return ""
    return (
        f" Of {len(found)} starts {kinds} have runs of more than one kind of processor, {weights} "
        f"were made anew with other weights; percbal's sources had {sources} states."
    )


def _rates(lines: Sequence[Line]) -> str:
    """What the tuning chose, and from what."""
    # of a grid that was widened the last choice counts
    last = {line["arm"]: line for line in lines if line["kind"] == "choice"}
    choices = list(last.values())
    if not choices:
        return ""
    grid = sorted({rate for line in choices for rate in line["means"]}, key=float)
    rows = [_line("arm", *(f"rate {rate}" for rate in grid), "chosen")]
    rows.append("|---" * (len(grid) + 2) + "|")
    for line in choices:
        means = [f"{100 * line['means'][r]:.1f}" if r in line["means"] else "" for r in grid]
        rows.append(_line(line["arm"], *means, f"{line['rate']:g}"))
    return "Mean a of the tuning's bases at each learning rate, percent:\n\n" + "\n".join(rows)


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
