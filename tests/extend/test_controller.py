"""The walk-through "A balance rule" of docs/extend.md works as printed."""

from pathlib import Path

import pytest
from walkthrough import follow


@pytest.mark.slow  # two processes that import the trainers
def test_the_walk_through_works_as_printed(tmp_path: Path) -> None:
    follow("A model to try it on", tmp_path)
    follow("A balance rule", tmp_path)
