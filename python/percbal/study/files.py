"""Where a study keeps what it makes, below one directory."""

from __future__ import annotations

from pathlib import Path

from percbal.study.plan import Run, Start, folder

STUDY, RESULTS = "study.json", "results.json"
BASE_DATA, DATA = Path("data/base.pt"), Path("data/train.pt")  # perceptions alone; full responses
MODEL = "model"  # of a training's directory: to load like any other
HISTORY = "history.json"  # what its trainer logged
EVALUATION = "evaluation.json"  # of a run: all that the results are made from
DIAGNOSIS = "diagnosis.json"  # of a run: every greedy completion on the test's own pictures


def untrained(root: Path, seed: int) -> Path:
    """The model that a base begins as."""
    return base_directory(root, seed) / "untrained"


def base_directory(root: Path, seed: int) -> Path:
    """Of the training of a base."""
    return root / "bases" / f"seed{seed}"


def start_directory(root: Path, start: Start) -> Path:
    """Of the training of a start; a base's own for one that has no arm."""
    if start.arm is None:
        return base_directory(root, start.seed)
    return root / "starts" / folder(start.name)


def run_directory(root: Path, run: Run) -> Path:
    """Of an arm's training from a start, and of what was measured."""
    return root / "runs" / folder(run.start) / folder(run.arm) / f"seed{run.seed}"
