"""Gains in a beside the headroom in perception that token-mean leaves, in every cell."""

from __future__ import annotations

import pytest
from study_lines import line, page_of

from percbal.report.evidence_headroom import PICTURE, cells_of, headroom_figure, headroom_table


def cell(study, room, *gains, bases=(1, 2)):
    """Runs of three arms from each base; each gains the same."""
    lines = []
    for base in bases:
        a = 0.2 + 0.1 * base
        lines += [
            line("token-mean", base, study, a=a, a_r=a + room),
            line("fixed 0.5", base, study, a=a + gains[0], a_r=0.9),
            line("NGDiff", base, study, a=a + gains[1], a_r=0.9),
        ]
    return lines


def test_headroom_is_of_token_mean_and_gains_are_over_it():
    (found,) = cells_of(cell("sft-sudoku", 0.25, 0.1, 0.2))
    assert found.study == "sft-sudoku" and found.room == pytest.approx([25, 25])
    assert found.gained["fixed 0.5"].a == pytest.approx([10, 10])
    assert found.gained["NGDiff"].a == pytest.approx([20, 20])


def test_a_gain_is_that_in_reasoning_and_the_headroom_used():
    """token-mean 30 of 55, fixed 0.5 40 of 90: 35 more in a_r, and 25 less of the headroom used."""
    (found,) = cells_of(cell("sft-sudoku", 0.25, 0.1, 0.2))
    gained = found.gained["fixed 0.5"]
    assert gained.a_r == pytest.approx([35, 25]) and gained.used == pytest.approx([-25, -15])


def test_a_base_without_all_three_arms_is_in_no_cell():
    lines = cell("sft-sudoku", 0.25, 0.1, 0.2, bases=(1, 2, 3))
    assert [len(found.room) for found in cells_of(lines[:-1])] == [2]
    assert cells_of(lines[:4]) == []  # one base has no interval


def test_each_cell_has_a_row_and_a_colour():
    lines = cell("sft-sudoku", 0.25, 0.1, 0.2) + cell("sft-coloring", 0.02, -0.05, -0.1)
    lines[1]["figures"]["a"] += 0.04
    cells = cells_of(lines)
    rows = headroom_table(cells).splitlines()[2:]
    assert rows[0].startswith("| sft-sudoku | 2 | 25.0")
    assert " | fixed 0.5 | +12.0 ±25.4 | +30.0 " in rows[0] and " | NGDiff | +20.0" in rows[1]
    assert rows[2].startswith("| sft-coloring | 2 | 2.0") and " | NGDiff | -10.0" in rows[3]


@pytest.mark.parametrize(
    "panel, title, up, down", [(0, "fixed 0.5", 10, -5), (1, "NGDiff", 20, -10)]
)
def test_each_panel_has_the_gains_of_its_arm(panel, title, up, down):
    lines = cell("sft-sudoku", 0.25, 0.1, 0.2) + cell("sft-coloring", 0.02, -0.05, -0.1)
    axes = headroom_figure(cells_of(lines)).axes[panel]
    assert axes.get_title() == f"{title} minus token-mean"
    dots = [each for each in axes.lines if each.get_marker() == "o"]
    assert dots[0].get_xydata().ravel() == pytest.approx([25, up] * 2)
    assert dots[1].get_xydata().ravel() == pytest.approx([2, down] * 2)
    assert dots[0].get_markeredgecolor() != dots[1].get_markeredgecolor()


@pytest.mark.parametrize("both", [True, False])
def test_the_page_has_it_once_two_cells_were_run(both, tmp_path):
    made = {"sft": cell("sft-sudoku", 0.25, 0.1, 0.2)}
    if both:
        made["sft-coloring"] = cell("sft-coloring", 0.02, -0.05, -0.1)
    text = page_of(tmp_path, **made)
    assert ("\n## Gains and headroom\n" in text) is both
    assert (tmp_path / "images" / PICTURE).exists() is both
