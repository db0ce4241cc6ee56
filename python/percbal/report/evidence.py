"""docs/results.md and its pictures, from what was said beforehand and the committed lines.

Nothing here is typed: every number comes from a line, every verdict from a rule of
`percbal.study.contrasts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from percbal.report.evidence_contrasts import (
    HALF_WIDTH,
    contrast_tables,
    overview,
    predictions,
)
from percbal.report.evidence_headline import headline, write_headline
from percbal.report.evidence_plots import dose_figure, effects_figure, gains_figure
from percbal.report.evidence_rates import rates, refuse_other_rates
from percbal.report.evidence_runs import level_tables, runs_made
from percbal.report.evidence_starts import starts_made
from percbal.report.evidence_sweep import sweep_figure
from percbal.report.plots import write_svg
from percbal.study.contrasts import LEAST, LEVEL, Effect, effects
from percbal.study.doses import dose_table, doses
from percbal.study.foretold import foretold, foretold_table
from percbal.study.lines import REPEATED, Line, read_lines
from percbal.study.registration import Contrast, Registration, read_registration

MARGIN = Contrast.margin
INTRODUCTION = f"""# Results

*Made by `percbal study --page docs` from the committed lines of [results/](results) and from what
was said before the runs in [studies/](studies); a test makes it again and compares. study.md has
[the words of the tables](study.md#words-of-the-results) and
[how to add runs](study.md#registered-studies).*

Each row of a table of differences was named beforehand, with the sign that we predicted and the
chance that we gave it: that a + or - comes significantly, that a 0 is shown to be as good as 0.
As good as 0 is an interval within ±{100 * MARGIN:g} points; of correlations, shares and log-odds
none is. "Prediction came" says whether that happened, and "open" where too few starts tell it.

An effect is the mean of one difference for each start, ± half of Student's 95% t interval over
starts. Differences of accuracies are in points; those of correlations and shares are as they are.
Under GRPO exact a_p is compared in log-odds. Where two figures of one run are compared, their
means stand in brackets. p is that of t over {LEAST} starts or more. For primary contrasts
(**bold**) it is corrected by Holm within their file, where a contrast that is not complete counts
as 1 for the others; other contrasts are not corrected. "Starts" counts those that have the
difference, of those planned; "for ±{100 * HALF_WIDTH:g}" says how many starts would give an
interval of ±{100 * HALF_WIDTH:g} points, by the standard deviation that was seen.

The verdict is on the paper's finding (arXiv:2605.29496) and follows a rule:

- *reproduced*: p below {LEVEL:g}, with the paper's sign; where the paper reports no difference,
  shown to be as good as 0. It is no statement about the size, which stands beside it, nor about the
  means of the arms, which stand in a table of their own;
- *reversed*: p below {LEVEL:g}, with the sign that is opposite to the paper's;
- *direction only*: the paper's sign, not significant, and not shown to be as good as 0 either;
- *not reproduced*: not significant, and without the paper's sign or shown to be as good as 0; where
  the paper reports no difference, not shown to be as good as 0;
- *no finding of the paper*: the paper says nothing of it, or gives no sign;
- *too few starts*: fewer than half of the planned starts, or than {LEAST}, have the difference;
- *no start*: every planned start missed its competence;
- *cannot be tested here*: said beforehand, and why;
- *not complete yet*: not all planned starts have their runs. What is there so far is no verdict. A
  primary contrast that is not significant waits for the others, too: as they come, Holm's p of it
  can become smaller and never larger, so that no verdict changes once it stands here.

The margin of ±{100 * MARGIN:g} points and the level of {LEVEL:g} are the program's, and stand in
none of the files.
"""
MAIN, PLAIN = "sft-sudoku", "token-mean"  # of the picture of gains
GAINS, SWEEP, DOSES = "results_gains.svg", "results_lambda.svg", "results_dose.svg"


def write_page(docs: Path) -> Path:
    """Write ``results.md`` and ``images/results_*.svg`` of a docs folder; return the page.

    And the main cell's numbers into the README beside the folder, between its marks. ValueError
    for a folder without studies, a line of another registration, runs at another rate than was
    tuned, a README without both marks, and where `percbal.study.lines.results` raises it.
    """
    registrations = [read_registration(path) for path in (docs / "studies").glob("*.yaml")]
    if not registrations:
        raise ValueError(
            f"{docs / 'studies'} has no *.yaml, which says what is expected of a study: there is "
            "nothing to make a page of"
        )
    studies = [
        (registration, read_lines(docs / "results" / f"{registration.name}.jsonl"))
        for registration in sorted(registrations, key=_order)
    ]
    found = [(registration, lines, effects(registration, lines)) for registration, lines in studies]
    refuse_other_rates([line for _, lines in studies for line in lines])
    parts = [INTRODUCTION, overview([(registration, each) for registration, _, each in found])]
    for registration, lines, each in found:
        if (plan := registration.planned.get(MAIN)) is not None:
            write_headline(docs.parent / "README.md", headline(lines, MAIN, PLAIN, plan))
        parts += _study(docs / "images", registration, lines, each)
    page = docs / "results.md"
    page.write_text("\n\n".join(part.strip() for part in parts if part) + "\n")
    return page


def _order(registration: Registration) -> tuple[int, str]:
    """By the first of the paper's findings; one that tests none comes first."""
    return min(registration.findings, default=0), registration.name


def _study(
    images: Path, registration: Registration, lines: Sequence[Line], found: Sequence[Effect]
) -> list[str]:
    """One registered study: what was said, its findings, and what was run."""
    parts = [f"## {registration.prose['title']}", _prose(registration)]
    arms = registration.planned.get(MAIN, {}).get("arms", [])
    if gains := gains_figure(lines, MAIN, PLAIN, arms):
        write_svg(gains, images / GAINS)
        parts.append(f"![What each arm gains over {PLAIN}, a dot for each base](images/{GAINS})")
    if sweep := sweep_figure(lines):
        write_svg(sweep, images / SWEEP)
        parts.append(
            f"![Seeing, reasoning and both over lambda, a dot for each base](images/{SWEEP})"
        )
    parts += [*contrast_tables(registration, found), predictions(found)]
    # log-odds have another axis: that of the doses
    shown = [x for x in found if x.values and not (x.contrast.scale or x.contrast.doses)]
    if shown:
        name = f"results_{registration.name}.svg"
        write_svg(effects_figure(shown), images / name)
        parts.append(f"![Contrasts with their intervals, a dot for each start](images/{name})")
    if registration.prose.get("dose"):
        points = doses(lines)
        if points:
            write_svg(dose_figure(points), images / DOSES)
            parts.append(f"![What a reward's correlation with the truth buys](images/{DOSES})")
        parts += [dose_table(points, lines), foretold_table(foretold(lines))]
    return [
        *parts,
        *level_tables(registration, lines),
        starts_made(registration, lines),
        runs_made(registration, lines, REPEATED),
        rates(lines),
    ]


def _prose(registration: Registration) -> str:
    """Where it stands, and the prose itself, folded away."""
    prose = {name: text for name, text in registration.prose.items() if isinstance(text, str)}
    prose.pop("title")
    name = f"{registration.name}.yaml"
    rows = [f"**{name.replace('_', ' ')}**: {text.strip()}" for name, text in prose.items()]
    return "\n\n".join(
        [
            f"Said beforehand: [{name}](studies/{name}), hash `{registration.hash}`.",
            "<details><summary>What it says</summary>",
            *rows,
            "</details>",
        ]
    )
