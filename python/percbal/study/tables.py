"""Markdown tables of a study's results, and how to read them."""

from __future__ import annotations

from percbal.evaluate.intervals import Interval
from percbal.evaluate.names import METRICS
from percbal.study.plan import START
from percbal.study.results import Results, Row, over_runs, points

FURTHER = ("greedy a", "greedy a_p", "a_p known", "a_p new")  # shown where they were measured
COUPLINGS = {
    "r(a, a_p)": "pooled_perception",
    "r(a, own)": "pooled_reasoning",
    "r(agree, a_p)": "group_agreement",
    "r(blind, a_p)": "blind_reanswer",
}


def table(results: Results) -> str:
    """For each population its arms, and below them their differences."""
    blocks = []
    for start in results.starts():
        rows = [row for row in results.rows if row.start == start]
        further = [name for name in FURTHER if name in rows[0].figures]
        couplings = list(COUPLINGS) if rows[0].coupling else []
        if len(results.starts()) > 1:
            blocks.append([f"**Start: {start}**"])
        blocks.append(
            [
                *_head("arm (runs)", *METRICS, *further, *couplings),
                *(_row(row, further, couplings) for row in rows),
            ]
        )
        pairs = [pair for pair in results.differences if pair.start == start]
        if pairs:
            lines = _head("difference (runs)", *METRICS)
            for pair in pairs:
                cells = [pair.points(metric) for metric in METRICS]
                lines.append(_line(f"{pair.name} ({len(pair.runs)})", *cells))
                if len(pair.runs) == 2:  # t says next to nothing of two
                    each = [", ".join(f"{100 * x:+.1f}" for x in pair.by_run[m]) for m in METRICS]
                    lines.append(_line("- by run", *each))
            blocks.append(lines)
    return "\n\n".join("\n".join(lines) for lines in blocks)


def note(results: Results) -> str:
    """How to read the table."""
    rows = results.rows
    decoding = (
        f"{results.samples} samples each at temperature 1 unless greedy"
        if results.samples
        else "greedy decoding"
    )
    parts = [
        f"Percent, of differences points; {results.instances} held-out pictures of each kind, "
        f"{decoding}. In brackets 95% intervals by a bootstrap over pictures and runs, of "
        "accuracies at least as wide as Wilson's; differences are paired. After ± half of "
        "Student's 95% t interval over runs, which needs two. * marks a difference whose bootstrap "
        "interval is without 0, † one whose t interval is. Only one with both marks is called "
        "significant: with few runs the bootstrap covers the variation between them too narrowly, "
        "and t says nothing of the choice of pictures. With two runs t is 12.7, and hardly any "
        "difference is significant: look at every run. One interval in twenty excludes 0 by chance."
    ]
    if any(row.changes for row in rows):
        parts.append(
            "The first row is the start itself, the others are changes against it. All runs of a "
            "start share its one measurement, whose noise is in the brackets of a change and not "
            "after its ±; in the difference of two arms it cancels."
        )
    if any("a_p known" in row.figures for row in rows):
        parts.append(
            "Half of the pictures are of solution grids that training draws (known), half of grids "
            "that it does not (new)."
        )
    if any(row.coupling for row in rows):
        parts.append(
            "r(a, a_p), r(a, own): pooled correlation of the outcome with perception, and with the "
            "answer being right for what was perceived, over the samples after training. "
            "r(agree, a_p), r(blind, a_p): within-group correlation of the surrogate with true "
            "perception in the first, middle and last third of training."
        )
    return " ".join(parts)


def accuracy(interval: Interval) -> str:
    """In percent, with its bootstrap interval."""
    value, low, high = (100 * x for x in interval)
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def _head(*names: str) -> list[str]:
    return [_line(*names), "|" + "---|" * len(names)]


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _row(row: Row, further: list[str], couplings: list[str]) -> str:
    def cell(measure: str) -> str:
        interval = row.figures[measure]
        if not row.changes:
            return accuracy(interval)
        return points(interval, over_runs(row.by_run.get(measure, [])))

    cells = [cell(measure) for measure in (*METRICS, *further)]
    for name in couplings:
        key = COUPLINGS[name]
        if key in row.coupling:
            cells.append(f"{row.coupling[key]:.2f}")
        else:  # by thirds of the training
            known = row.signal.get(key, ())
            cells.append(" ".join("-" if r is None else f"{r:.2f}" for r in known))
    return _line(START if row.arm == START else f"{row.arm} ({len(row.runs)})", *cells)
