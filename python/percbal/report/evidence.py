"""docs/results.md and its pictures, from what was said beforehand and the committed lines.

Nothing here is typed: every number comes from a line, every verdict from a rule of
`percbal.study.contrasts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from percbal.report import evidence_headroom as headroom
from percbal.report.evidence_contrasts import asked_afterwards, contrast_tables, predictions
from percbal.report.evidence_doses import dose_table, foretold_table
from percbal.report.evidence_headline import headline, write_headline
from percbal.report.evidence_levels import gains_table, level_tables
from percbal.report.evidence_plots import dose_figure, effects_figure, gains_figure
from percbal.report.evidence_rates import rates, refuse_other_rates
from percbal.report.evidence_runs import runs_made
from percbal.report.evidence_scope import scope
from percbal.report.evidence_starts import starts_made
from percbal.report.evidence_summary import not_run, overview, summary
from percbal.report.evidence_sweep import sweep_figure
from percbal.report.evidence_words import HEAD, HOW_TO_READ
from percbal.report.plots import write_svg
from percbal.study.afterwards import effects_afterwards, read_afterwards
from percbal.study.contrasts import Effect, effects
from percbal.study.doses import doses
from percbal.study.foretold import foretold
from percbal.study.lines import REPEATED, Line, read_lines, results
from percbal.study.registration import Registration, read_registration

MAIN, PLAIN = "sft-sudoku", "token-mean"  # of the picture of gains
GAINS, SWEEP, DOSES = "results_gains.svg", "results_lambda.svg", "results_curve.svg"


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
    afterwards = {path.stem for path in (docs / "studies" / "afterwards").glob("*")}
    if strange := afterwards - {registration.name for registration in registrations}:
        raise ValueError(f"studies/afterwards has {min(strange)}, and there is no such study")
    studies = [
        (registration, read_lines(docs / "results" / f"{registration.name}.jsonl"))
        for registration in sorted(registrations, key=_order)
    ]
    found = [(registration, lines, effects(registration, lines)) for registration, lines in studies]
    refuse_other_rates([line for _, lines in studies for line in lines])
    parts = [HEAD, *_top(found), *_headroom(docs / "images", found)]
    for registration, lines, each in found:
        if (plan := registration.planned.get(MAIN)) is not None:
            write_headline(docs.parent / "README.md", headline(lines, each, MAIN, PLAIN, plan))
        parts += _study(docs, registration, lines, each)
    page = docs / "results.md"
    parts.append(HOW_TO_READ)
    page.write_text("\n\n".join(part.strip() for part in parts if part) + "\n")
    return page


def _order(registration: Registration) -> tuple[int, str]:
    """By the first of the paper's findings; one that tests none comes first."""
    return min(registration.findings, default=0), registration.name


def _top(found: Sequence[tuple[Registration, Sequence[Line], Sequence[Effect]]]) -> list[str]:
    """What the files with runs say, and in one sentence those without."""
    begun = [(registration, each) for registration, lines, each in found if results(lines)]
    waiting = [
        f"{registration.name} ({not_run(registration, each)})"
        for registration, lines, each in found
        if not results(lines)
    ]
    parts = [summary(begun), overview(begun)] if begun else []
    return [*parts, f"Registered, not run yet: {', '.join(waiting)}." if waiting else ""]


def _headroom(
    images: Path, found: Sequence[tuple[Registration, Sequence[Line], Sequence[Effect]]]
) -> list[str]:
    """Of all cells together; nothing before two of them have runs."""
    cells = headroom.cells_of([line for _, lines, _ in found for line in lines])
    if len(cells) < 2:
        return []
    write_svg(headroom.headroom_figure(cells), images / headroom.PICTURE)
    picture = f"![{headroom.TITLE}](images/{headroom.PICTURE})"
    return [headroom.SAID, headroom.headroom_table(cells), picture, headroom.CAPTION]


def _study(
    docs: Path, registration: Registration, lines: Sequence[Line], found: Sequence[Effect]
) -> list[str]:
    """One registered study: what was said, its findings, and what was run."""
    parts = [f"## {registration.name}: {registration.prose['title']}", _prose(registration)]
    starts, tuned = starts_made(registration, lines), rates(lines)
    if not results(lines):
        return [*parts, f"Registered, not run yet: {not_run(registration, found)}.", starts, tuned]
    parts.append(scope(registration))
    arms = registration.planned.get(MAIN, {}).get("arms", [])
    images = docs / "images"
    parts += _pictures(images, lines, arms)
    after = read_afterwards(docs / "studies" / "afterwards" / f"{registration.name}.yaml")
    parts += [*contrast_tables(registration, found, after.remarks), predictions(found)]
    parts.append(asked_afterwards(effects_afterwards(after, registration, lines)))
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
    parts.append(gains_table(lines, MAIN, PLAIN, arms))
    parts += level_tables(registration, lines)
    return [*parts, starts, runs_made(registration, lines, REPEATED), tuned]


def _pictures(images: Path, lines: Sequence[Line], arms: Sequence[str]) -> list[str]:
    """Of the main cell and of the sweep, where their lines are."""
    parts = []
    if gains := gains_figure(lines, MAIN, PLAIN, arms):
        write_svg(gains, images / GAINS)
        parts.append(f"![What each arm gains over {PLAIN}, a dot for each base](images/{GAINS})")
    if sweep := sweep_figure(lines):
        write_svg(sweep, images / SWEEP)
        parts.append(
            f"![Seeing, reasoning and both over lambda, a dot for each base](images/{SWEEP})"
        )
    return parts


def _prose(registration: Registration) -> str:
    """Where it stands, and the prose itself, folded away."""
    rows = [
        f"**{name.replace('_', ' ')}**: {text.strip()}"
        for name, text in registration.prose.items()
        if isinstance(text, str) and name != "title"
    ]
    name = f"{registration.name}.yaml"
    return "\n\n".join(
        [
            f"Said beforehand: [{name}](studies/{name}), hash `{registration.hash}`.",
            "<details><summary>What it says</summary>",
            *rows,
            "</details>",
        ]
    )
