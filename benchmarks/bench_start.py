"""What a user waits for before anything is computed: help, imports, files read, a batch collated.

    pytest benchmarks/bench_start.py --benchmark-only  # PERCBAL_BENCH=quick: fewer rows

Commands run as processes of their own, after one call that is not counted (it compiles bytecode and
keeps the help of the trainers).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from common import QUICK
from PIL import Image

ROLLOUTS = 10_000 if QUICK else 1_000_000
ROWS = 10 if QUICK else 1_000
COMMANDS = {
    "import percbal": ["-c", "import percbal"],
    "import percbal_ops": ["-c", "import percbal_ops"],
    "percbal --help": ["-m", "percbal", "--help"],
    "percbal tasks": ["-m", "percbal", "tasks"],
    "percbal report --help": ["-m", "percbal", "report", "--help"],
    "percbal sft --help": ["-m", "percbal", "sft", "--help"],
    "percbal grpo --help": ["-m", "percbal", "grpo", "--help"],
}


def call(arguments: list[str], cache: Path) -> None:
    subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        stdout=subprocess.DEVNULL,
        check=True,
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory: Any) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("command", COMMANDS)
def test_command(benchmark: Any, command: str, cache: Path) -> None:
    rounds = 2 if QUICK else 5
    benchmark.pedantic(call, args=(COMMANDS[command], cache), rounds=rounds, warmup_rounds=1)


@pytest.mark.parametrize("trainer", ["sft", "grpo"])
def test_the_first_help_of_a_trainer(benchmark: Any, trainer: str, tmp_path: Path) -> None:
    """Nothing is kept yet."""
    places = (tmp_path / str(i) for i in range(9))
    benchmark.pedantic(
        lambda: call(["-m", "percbal", trainer, "--help"], next(places)), rounds=1 if QUICK else 3
    )


@pytest.mark.parametrize("odd", [False, True], ids=["usual rows", "a bad row in each block"])
def test_percbal_coupling(benchmark: Any, odd: bool, tmp_path: Path) -> None:
    """odd: the slowest, every row is read by itself."""
    rng = np.random.default_rng(0)
    seen, said = rng.random((2, ROLLOUTS)) < 0.6
    path = tmp_path / "rollouts.jsonl"
    with path.open("w") as file:
        for i in range(ROLLOUTS):
            scores = {"outcome": bool(seen[i] & said[i]), "perception": float(seen[i])}
            print(json.dumps({"group": f"prompt {i // 8}"} | scores), file=file)
            if odd and i % 10_000 == 5_000:
                print("{", file=file)
    arguments = ["-m", "percbal", "coupling", str(path)]
    benchmark.pedantic(call, args=(arguments, tmp_path), rounds=1 if odd or QUICK else 3)
    benchmark.extra_info["rollouts"] = ROLLOUTS


@pytest.fixture(scope="module")
def data(tmp_path_factory: Any) -> Path:
    """Rows as a user has them: JSON lines, and pictures beside."""
    folder = tmp_path_factory.mktemp("data")
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(folder / "picture.png")
    response = f"<perception> {'w1 ' * 36}</perception> {'w2 ' * 330}"
    row = {
        "prompt": [{"role": "user", "content": "look"}],
        "completion": [{"role": "assistant", "content": response}],
        "image": "picture.png",
    }
    (folder / "train.jsonl").write_text(f"{json.dumps(row)}\n" * ROWS)
    return folder / "train.jsonl"


def test_read_dataset(benchmark: Any, data: Path) -> None:
    from percbal import read_dataset

    rows = benchmark.pedantic(lambda: read_dataset(str(data)), rounds=3, warmup_rounds=1)
    assert len(rows) == ROWS
    benchmark.extra_info["rows"] = ROWS


def test_collate_a_batch(benchmark: Any, data: Path) -> None:
    """Four rows of 400 tokens, and a picture of 16 tokens."""
    from step_runner import QUICK_SIZES, start

    from percbal import SegmentCollator, read_dataset

    _, processor = start(next(iter(QUICK_SIZES)))
    rows = read_dataset(str(data))
    batch = [rows[i] for i in range(4)]
    collate = SegmentCollator(processor)
    benchmark.pedantic(lambda: collate(batch), rounds=5 if QUICK else 50, warmup_rounds=2)
