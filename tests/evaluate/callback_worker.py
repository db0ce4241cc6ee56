"""Run by test_callback.py: a short run with a diagnosis, on one process or under torchrun.

python callback_worker.py DIRECTORY
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from two_processes import leave

from percbal.data.reading import read_dataset
from percbal.evaluate.callback import DiagnosisCallback
from percbal.grpo.config import BalancedGRPOConfig
from percbal.grpo.trainer import BalancedGRPOTrainer
from percbal.models.loading import load_vlm
from percbal.sft.config import BalancedSFTConfig
from percbal.sft.trainer import BalancedSFTTrainer
from percbal.tasks import get_task

COMMON: dict[str, Any] = {
    "max_steps": 4,
    "logging_steps": 3,
    "per_device_train_batch_size": 2,
    "use_cpu": True,
    "bf16": False,
    "learning_rate": 1e-2,
    "report_to": "none",
    "disable_tqdm": True,
    "save_strategy": "no",
}


def outcome(completions: Any, **_: Any) -> list[float]:
    return [float(len(completion[0]["content"]) % 5) for completion in completions]


def perception(completions: Any, **_: Any) -> list[float]:
    return [float(len(completion[0]["content"]) % 3) for completion in completions]


def trainer_of(kind: str, directory: Path, out: Path, every: int | None, **options: Any) -> Any:
    """An SFT or GRPO trainer on the model and the data in a directory."""
    model, processor = load_vlm(directory / "model")
    callbacks = []
    if every is not None:
        callbacks = [DiagnosisCallback(get_task("sudoku"), processor, every=every, n=2)]
    options = COMMON | options
    given: dict[str, Any] = {"processing_class": processor, "callbacks": callbacks}
    data = read_dataset(str(directory / "data" / "train.jsonl"), "train")
    if kind == "sft":
        config = BalancedSFTConfig(str(out), **options)
        return BalancedSFTTrainer(model, config, train_dataset=data, **given)
    sampling = {"num_generations": 2, "max_completion_length": 6, "loss_type": "grpo"}
    args = BalancedGRPOConfig(str(out), **sampling, **options)
    rewards = [outcome, perception]
    return BalancedGRPOTrainer(model, rewards, args, train_dataset=data, **given)


if __name__ == "__main__":
    directory = Path(sys.argv[1])
    trainer = trainer_of("sft", directory, directory / "out", every=2, ddp_backend="gloo")
    trainer.train()
    rank = trainer.accelerator.process_index
    torch.save(trainer.model.state_dict(), directory / f"weights{rank}.pt")
    (directory / f"log{rank}.json").write_text(json.dumps(trainer.state.log_history))
    leave()
