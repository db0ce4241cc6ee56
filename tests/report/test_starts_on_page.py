"""Where the starts of a registered study ended, those without a line of it among them."""

from __future__ import annotations

from study_lines import SFT, line

from percbal.report.evidence_starts import starts_made


def start(seed, status="reached", **figures):
    names = {"kind": "start", "study": "sft-sudoku", "start": f"base {seed}", "seed": seed}
    of = {"figures": figures, "registered": SFT.hash, "weights": "w"}
    return {**names, "status": status, **of}


def test_starts_stand_there_with_what_they_came_to():
    lines = [
        {**start(1, step=900, exact_p=0.24), "weights": "other"},
        start(1, step=400, exact_p=0.12),
        line(start=1, a=0.5),
        start(2, step=600, exact_p=0.2),
        start(3, "the steps ran out", step=2000, exact_p=0.01),
        {**start(91, step=9, exact_p=0.2), "start": "tuning 91"},
    ]
    assert starts_made(SFT, []) == ""
    said = starts_made(SFT, lines)
    assert (
        "| sft-sudoku | 2 | 1 the steps ran out | 1 | 400 / 500 / 600 | 12 / 16 / 20 |  |" in said
    )


def test_starts_that_have_runs_and_no_line_are_counted():
    """Also failed ones, and where none has a line."""
    lines = [start(1, step=400, exact_p=0.12), line(start=1, a=0.5)]
    assert "no line" not in starts_made(SFT, lines)
    lines += [line(start=3, a=0.5), line("NGDiff", 3, a=0.5), line(start=2)]
    said = starts_made(SFT, lines)
    assert "| sft-sudoku | 1 | 0 | 0 | 400 / 400 / 400 | 12 / 12 / 12 |  |" in said
    assert (
        "Starts of sft-sudoku that have runs, and no line of where they ended: 2 (base 3, base 2)."
        in said
    )
    tuning = {**line(start=9, a=0.5), "kind": "tuning"}
    alone = starts_made(SFT, [tuning, line(start=3, a=0.5)])
    assert alone.startswith("Starts of sft-sudoku that have") and alone.endswith("1 (base 3).")
