"""A short run of each training command warns of nothing that its user could not have avoided."""

from __future__ import annotations

import subprocess
import sys

import pytest

from percbal.models.tiny import build_tiny_vlm
from percbal.tasks import get_task
from percbal.tasks.preview import export_jsonl

SIZES = {"hidden": 16, "layers": 1, "heads": 2, "mlp": 32}
OPTIONS = {  # what each run tries besides its defaults
    "sft": ["--eval_strategy", "steps", "--eval_steps", "1", "--balance", "ngdiff"],
    "grpo": ["--num_generations", "2", "--max_completion_length", "4"],
}


@pytest.mark.slow
@pytest.mark.parametrize("command", OPTIONS)
def test_a_run_has_no_warning_of_what_is_deprecated(command, tmp_path):
    task = get_task("sudoku")
    model = build_tiny_vlm(tmp_path / "model", task.vocabulary(), **SIZES)
    data = export_jsonl(task, "train", 4, tmp_path / "data")
    kinds = ["-W", "default::FutureWarning", "-W", "default::DeprecationWarning"]
    arguments = ["--model", model, "--dataset", data, "--output_dir", tmp_path / "out"]
    arguments += ["--max_steps", "2", "--per_device_train_batch_size", "2", "--use_cpu"]
    arguments += ["--bf16", "false", "--report_to", "none", *OPTIONS[command]]
    arguments += ["--eval_dataset", data] if command == "sft" else []
    done = subprocess.run(
        [sys.executable, *kinds, "-m", "percbal", command, *map(str, arguments)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "FutureWarning" not in done.stderr and "DeprecationWarning" not in done.stderr
