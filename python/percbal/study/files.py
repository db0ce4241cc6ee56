"""Where a study keeps what it makes, below one directory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from percbal.study.plan import Run, Start, Study, folder

STUDY, RESULTS = "study.json", "results.json"
REGISTERED = "registered.json"  # the hash of what was said before the first run; "" for nothing
LINES = "lines.jsonl"  # one of each run, unless they are kept elsewhere
REPEATS = "repeats"  # of runs that are made twice, laid out as the study is
BASE_DATA, DATA = Path("data/base.pt"), Path("data/train.pt")  # perceptions alone; full responses
MODEL = "model"  # of a training's directory: to load like any other
HISTORY = "history.json"  # what its trainer logged
EVALUATION = "evaluation.json"  # of a run: all that the results are made from
OUTCOME = "outcome.json"  # of a base or a start: whether it may be used
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
    rate = f"_rate{run.rate}" if run.tuning else ""
    return root / "runs" / folder(run.start) / folder(run.arm) / f"seed{run.seed}{rate}"


def identity(root: Path, study: Study, run: Run) -> dict[str, str]:
    """What a run is of: the hash of its settings, and of its start's weights."""
    weights = start_weights(root, study.start(run.start))
    return {"plan": digest(study.settings(run)), "weights": weights}


def start_weights(root: Path, start: Start) -> str:
    """Their hash; "" where there are none, since its base failed."""
    weights = start_directory(root, start) / MODEL / "model.safetensors"
    return digest(weights.read_bytes()) if weights.exists() else ""


def require(held: Any, names: Iterable[str], what: str) -> None:
    """ValueError that says which of the names it lacks; all, where it is no mapping."""
    lacking = [name for name in names if not isinstance(held, dict) or name not in held]
    if lacking:
        raise ValueError(f"{what} lacks {', '.join(lacking)}")


def digest(content: Any) -> str:
    """The first 16 digits of the SHA-256 of bytes, or of a value's JSON."""
    if not isinstance(content, bytes):
        content = json.dumps(content, sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()[:16]
