"""docs/train.md shows the measured steps, and their intervals are what they are said to be."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def module(name):
    spec = importlib.util.spec_from_file_location(f"bench_{name}", BENCHMARKS / f"{name}.py")
    found = importlib.util.module_from_spec(spec)
    __import__("sys").modules[spec.name] = found  # dataclasses look there
    spec.loader.exec_module(found)
    return found


def test_the_page_shows_the_committed_results():
    page = module("page_train_step")
    assert page.shown() == page.table(page.committed())


ROW = {"name": "SFT, x", "size": "V 5", "pairs": 9, "time_ratio": 0.5, "low": 0.4, "high": 0.625}
MORE = {"total_ratio": 0.7, "peak_ratio": 0.25, "seconds": 1.5, "seconds_beside": 3, "peak": 2**20}
WHERE = {
    "device": "a CPU",
    "torch": "2",
    "commit": "c",
    "date": "d",
    "peak_beside": 2**22,
    "beside": "B",
}


def test_a_row_is_shown_with_its_interval_and_its_machine():
    page = module("page_train_step")
    said = page.table(
        [ROW | MORE | WHERE, {"name": "SFT, y", "beside": "C", "size": "V 5", "refused": "why"}]
    )
    assert "| SFT, x | 0.50 | 0.40 to 0.62 (9 pairs) | 0.70 | 0.25 | 1.5 / 3 | 1 / 4 | A |" in said
    assert "| A | a CPU, torch 2, commit c, d |" in said and "| SFT, y | - |" in said
    assert "rollouts" not in said
    assert said.index("V 5, beside B:") < said.index("| SFT, x |") < said.index("V 5, beside C:")


def test_a_step_with_rollouts_says_what_they_took_and_how_the_rest_compares():
    page = module("page_train_step")
    said = page.table([ROW | MORE | WHERE | {"sampling": [1.25, 1.5], "rest": [0.5, 0.25, 0.75]}])
    assert "Of SFT, x, 1.25 / 1.5 seconds are rollouts" in said
    assert "The rest of the step takes 0.50 of the time (0.25 to 0.75)." in said


@pytest.mark.parametrize("n", [6, 10, 40, 41])
def test_the_interval_of_a_median_covers_it_in_95_of_100_samples(n):
    """And would not, were it narrower: the chance that k or fewer of n lie below the median."""
    median, low, high = module("common").median_interval([float(i) for i in range(n)])
    assert median == (n - 1) / 2 and low + high == n - 1

    def outside(k):
        return 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n

    at = int(low)
    assert (outside(at) <= 0.05 or at == 0) and outside(at + 1) > 0.05
