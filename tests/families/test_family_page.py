"""docs/families.md shows what was tested, and nothing that failed."""

from __future__ import annotations

import json

import page_families
import zoo


def test_the_page_shows_the_committed_results_and_all_passed() -> None:
    results = json.loads(page_families.DATA.read_text())
    assert page_families.shown() == page_families.table(results)
    assert set(results) == set(zoo.WORKING)
    for family, cells in results.items():
        assert set(cells) == set(page_families.COLUMNS), family
        assert all(passed == tried > 0 for passed, tried in cells.values()), family
