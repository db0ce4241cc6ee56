"""The walk-through "A study arm" of docs/extend.md works as printed."""

from pathlib import Path

import pytest
from walkthrough import follow


@pytest.mark.slow  # four processes, each of which imports the trainers
def test_the_walk_through_works_as_printed(tmp_path: Path) -> None:
    follow("A study arm", tmp_path)
