"""One arm of a study with one seed, in a process of its own: train, save, diagnose.

Run as ``python -m percbal.study_arm STUDY_DIRECTORY ARM SEED``. It leaves in its directory
``progress.json`` while it works, checkpoints to go on from, and at the end ``history.json`` (what
the trainer logged), ``model/`` (to load like any other) and ``diagnosis.json``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback
from transformers.trainer_utils import get_last_checkpoint

from percbal.collate import EncodedDataset
from percbal.diagnose import diagnose
from percbal.loading import load_vlm
from percbal.presets import Study
from percbal.sft import BalancedSFTConfig, BalancedSFTTrainer
from percbal.tasks import get_task

TEST_SEED = 20_000  # of the test instances, the same for every arm and seed


def run_directory(root: Path, arm: str, seed: int) -> Path:
    """Where an arm with a seed keeps what it makes."""
    return root / f"seed{seed}" / arm.replace(" ", "_").replace("/", "_over_").replace(",", "")


def write_json(path: Path, value: Any) -> None:
    """Write whole or not at all: a reader, or a later run, never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(value))
    os.replace(partial, path)


class Progress(TrainerCallback):
    """Leaves the step reached in a file that the parent process reads, twice a second."""

    def __init__(self, path: Path) -> None:
        self.path, self.written = path, 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if time.monotonic() - self.written > 0.5:
            write_json(self.path, {"stage": "train", "step": state.global_step})
            self.written = time.monotonic()


def run_arm(root: Path, arm_name: str, seed: int) -> None:
    """Train, save and diagnose one arm; goes on from its last checkpoint if there is one."""
    study = Study.load(root / "study.json")
    arm, out = study.arm(arm_name), run_directory(root, arm_name, seed)
    dataset = EncodedDataset.load(root / "data" / "train.pt")
    model, processor = load_vlm(root / f"seed{seed}" / "initial")
    on_gpu = torch.cuda.is_available()
    args = BalancedSFTConfig(
        output_dir=str(out / "checkpoints"),
        balance=arm.balance,
        lam=arm.lam,
        max_steps=study.steps,
        per_device_train_batch_size=study.batch_size,
        learning_rate=arm.learning_rate or study.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=study.steps // 50,
        weight_decay=0.0,
        max_grad_norm=1.0,
        # batches of like lengths: a third of a random batch would be padding
        train_sampling_strategy="group_by_length",
        seed=seed,
        data_seed=seed,
        use_cpu=not on_gpu,
        bf16=False,
        gradient_checkpointing=False,
        dataloader_num_workers=0,
        logging_steps=max(1, study.steps // 60),
        save_steps=max(1, study.steps // 3),
        save_total_limit=1,
        report_to="none",
        disable_tqdm=True,
    )
    trainer = BalancedSFTTrainer(
        model,
        args,
        train_dataset=dataset,
        processing_class=processor,
        callbacks=[Progress(out / "progress.json")],
    )
    started = time.monotonic()
    trainer.train(resume_from_checkpoint=get_last_checkpoint(args.output_dir))
    trained = time.monotonic() - started
    trainer.save_model(str(out / "model"))
    processor.save_pretrained(out / "model")
    write_json(out / "history.json", trainer.state.log_history)
    write_json(out / "progress.json", {"stage": "diagnose", "step": study.steps})
    task = get_task(study.task, **study.task_options)
    result = diagnose(
        trainer.model, processor, task, n=study.test_instances, seed=TEST_SEED, progress=False
    )
    measured = time.monotonic() - started - trained
    seconds = {"train": round(trained, 1), "diagnose": round(measured, 1)}
    write_json(out / "diagnosis.json", {**result.to_dict(), "seconds": seconds})


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    run_arm(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
