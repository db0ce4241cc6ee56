"""Where a study keeps what it makes, below one directory; files that are whole or not there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from percbal.study.plan import Run, Start, folder

STUDY, RESULTS = "study.json", "results.json"
BASE_DATA, DATA = Path("data/base.pt"), Path("data/train.pt")  # perceptions alone; full responses
MODEL = "model"  # of a training's directory: to load like any other
HISTORY = "history.json"  # what its trainer logged
EVALUATION = "evaluation.json"  # of a run: all that the results are made from
DIAGNOSIS = "diagnosis.json"  # of a run: every greedy completion on the test's own pictures


def untrained(root: Path, seed: int) -> Path:
    """The model that a base begins as."""
    return root / "bases" / f"seed{seed}" / "untrained"


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


def write_json(path: Path, value: Any) -> None:
    """Write whole or not at all: a reader, or a later run, never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(value))
    os.replace(partial, path)


def read_json(path: Path) -> Any:
    """None if it is not there."""
    return json.loads(path.read_text()) if path.is_file() else None
