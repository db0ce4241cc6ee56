"""The walk of docs/journey.md works as printed."""

from pathlib import Path

import pytest
from walkthrough import follow

WALK = ("The data", "Fine-tune", "Diagnose", "Reinforce", "Look at the rollouts")


@pytest.mark.slow  # seven processes, most of which import the trainers
def test_the_walk_works_as_printed(tmp_path: Path) -> None:
    for heading in WALK:
        follow(heading, tmp_path, "journey.md")


@pytest.mark.slow
def test_the_walk_to_saved_rollouts_with_two_steps_of_fine_tuning(tmp_path: Path) -> None:
    for heading in WALK:
        if heading != "Diagnose":
            follow(heading, tmp_path, "journey.md", changes={"max_steps: 120": "max_steps: 2"})
