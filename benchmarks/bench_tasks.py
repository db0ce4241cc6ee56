"""How long an instance of a task takes: problem, chain of thought, its check, and the picture.

    python -m pytest benchmarks/bench_tasks.py --benchmark-timer=time.process_time

The timer counts this process alone, so that other work on the machine matters less. Means count:
instances differ. "test" and "train_sft" have one solution grid in six, so they draw more.
"""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from percbal.tasks import get_task

WARM = 100  # instances that fill the caches of fonts and digits
CASES = {
    "sudoku 4x4, 64 px": ("sudoku", {}),
    "sudoku 6x6, 96 px": ("sudoku", {"size": 6}),
    "sudoku 9x9, 369 px, easy": ("sudoku", {"size": 9, "level": "easy"}),
    "sudoku 9x9, 369 px": ("sudoku", {"size": 9}),
    "sudoku 9x9, 369 px, hard": ("sudoku", {"size": 9, "level": "hard"}),
    "coloring, 427 to 466 px": ("coloring", {}),
    "coloring, 427 to 466 px, hard": ("coloring", {"level": "hard"}),
    "chart, 384 px": ("chart", {}),
}


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("case", CASES)
def test_one_instance(benchmark: Any, case: str, split: str) -> None:
    name, options = CASES[case]
    task, index = get_task(name, **options), count()
    benchmark.group = split
    for _ in range(WARM):
        task.generate(next(index), split, 0)
    benchmark.pedantic(lambda: task.generate(next(index), split, 0), rounds=300)
    benchmark.extra_info["instances per second"] = round(1 / benchmark.stats["mean"])
