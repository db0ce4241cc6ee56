"""What a weight on perception gains over the headroom that it has, in every cell."""

from __future__ import annotations

import json
import shutil

import pytest
from study_lines import DOCS, line

from percbal.report.evidence import write_page
from percbal.report.evidence_headroom import PICTURE, cells_of, headroom_figure, headroom_table
from percbal.study.registration import read_registration


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
    assert found.gains["fixed 0.5"] == pytest.approx([10, 10])
    assert found.gains["NGDiff"] == pytest.approx([20, 20])


def test_a_base_without_all_three_arms_is_in_no_cell():
    lines = cell("sft-sudoku", 0.25, 0.1, 0.2, bases=(1, 2, 3))
    assert [len(found.room) for found in cells_of(lines[:-1])] == [2]
    assert cells_of(lines[:4]) == []  # one base has no interval


def test_each_cell_has_a_row_and_a_colour():
    lines = cell("sft-sudoku", 0.25, 0.1, 0.2) + cell("sft-coloring", 0.02, -0.05, -0.1)
    lines[1]["figures"]["a"] += 0.04
    cells = cells_of(lines)
    rows = headroom_table(cells).splitlines()[2:]
    assert rows[0].startswith("| sft-sudoku | 2 | 25.0") and " | +12.0 ±25.4 | " in rows[0]
    assert rows[1].startswith("| sft-coloring | 2 | 2.0") and " | -10.0" in rows[1]
    dots = [each for each in headroom_figure(cells).axes[0].lines if each.get_marker() == "o"]
    assert [list(each.get_xdata()) for each in dots] == [
        pytest.approx([25, 25]),
        pytest.approx([2, 2]),
    ]
    assert dots[0].get_markeredgecolor() != dots[1].get_markeredgecolor()


@pytest.mark.parametrize("both", [True, False])
def test_the_page_has_it_once_two_cells_were_run(both, tmp_path):
    shutil.copytree(DOCS / "studies", tmp_path / "studies")
    (tmp_path / "results").mkdir()
    made = {"sft": cell("sft-sudoku", 0.25, 0.1, 0.2)}
    if both:
        made["sft-coloring"] = cell("sft-coloring", 0.02, -0.05, -0.1)
    for name, lines in made.items():
        said = read_registration(tmp_path / "studies" / f"{name}.yaml").hash
        lines = [json.dumps({**each, "registered": said}) for each in lines]
        (tmp_path / "results" / f"{name}.jsonl").write_text("\n".join(lines))
    text = write_page(tmp_path).read_text()
    assert ("\n## Where a weight on perception can help\n" in text) is both
    assert (tmp_path / "images" / PICTURE).exists() is both
