"""The walk-through "A study arm" of docs/extend.md works as printed."""

from pathlib import Path

from walkthrough import follow


def test_the_walk_through_works_as_printed(tmp_path: Path) -> None:
    follow("A study arm", tmp_path)
