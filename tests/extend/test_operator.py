"""The walk-through "An operator" of docs/extend.md works as printed."""

from pathlib import Path

import pytest
from walkthrough import follow


@pytest.mark.slow  # compiles the operators
def test_the_walk_through_works_as_printed(tmp_path: Path) -> None:
    follow("An operator", tmp_path)
