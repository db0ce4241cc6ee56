"""One arm of a study with one seed, in a process of its own: train, save, diagnose.

Run as ``python -m percbal.study.arm STUDY_DIRECTORY ARM SEED``; the arm ``base`` is the training
that all others start from. It leaves in its directory
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

from percbal.evaluate.diagnose import diagnose
from percbal.models.checkpoint import last_checkpoint
from percbal.models.loading import load_vlm
from percbal.sft.collate import EncodedDataset
from percbal.sft.trainer import BalancedSFTConfig, BalancedSFTTrainer
from percbal.study.presets import BASE, Arm, Study
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


def trainer_options(out: Path, seed: int) -> dict[str, Any]:
    """What the trainings of all studies have in common: quiet, in float32, kept below ``out``."""
    return {
        "output_dir": str(out / "checkpoints"),
        "seed": seed,
        "use_cpu": not torch.cuda.is_available(),
        "bf16": False,
        "gradient_checkpointing": False,
        "save_total_limit": 1,
        "report_to": "none",
        "disable_tqdm": True,
    }


def fit(
    study: Study,
    arm: Arm,
    seed: int,
    *,
    start: Path,
    data: Path,
    out: Path,
    steps: int,
    batch_size: int,
) -> tuple[BalancedSFTTrainer, float]:
    """Train from the model in ``start``, or from the last checkpoint below ``out`` if there is one.

    Returns the trainer and the seconds that it took.
    """
    model, processor = load_vlm(start)
    args = BalancedSFTConfig(
        **trainer_options(out, seed),
        balance=arm.balance,
        lam=arm.lam,
        max_steps=steps,
        per_device_train_batch_size=batch_size,
        learning_rate=arm.learning_rate or study.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=steps // 50,
        weight_decay=0.0,
        max_grad_norm=1.0,
        # batches of like lengths: a third of a random batch would be padding
        train_sampling_strategy="group_by_length",
        data_seed=seed,
        dataloader_num_workers=0,
        logging_steps=max(1, steps // 60),
        save_steps=max(1, steps // 3),
    )
    trainer = BalancedSFTTrainer(
        model,
        args,
        train_dataset=EncodedDataset.load(data),
        processing_class=processor,
        callbacks=[Progress(out / "progress.json")],
    )
    started = time.monotonic()
    trainer.train(resume_from_checkpoint=last_checkpoint(out / "checkpoints"))
    return trainer, time.monotonic() - started


def save(trainer: BalancedSFTTrainer, directory: Path) -> None:
    """Model and processor, to load like any other; whole or not at all."""
    partial = directory.with_name(directory.name + ".partial")
    trainer.save_model(str(partial))
    trainer.processing_class.save_pretrained(partial)  # type: ignore[union-attr]
    os.replace(partial, directory)


def run_base(root: Path, seed: int) -> None:
    """Teach the untrained model to see a little: the common start of a seed's arms."""
    study = Study.load(root / "study.json")
    home = root / f"seed{seed}"
    trainer, _ = fit(
        study,
        Arm("base", "token_mean"),
        seed,
        start=home / "untrained",
        data=root / "data" / "base.pt",
        out=home / "base",
        steps=study.base_steps,
        batch_size=study.base_batch_size,
    )
    write_json(home / "base" / "history.json", trainer.state.log_history)
    save(trainer, home / "initial")


def run_arm(root: Path, arm_name: str, seed: int) -> None:
    """Train, save and diagnose one arm."""
    study = Study.load(root / "study.json")
    out = run_directory(root, arm_name, seed)
    trainer, trained = fit(
        study,
        study.arm(arm_name),
        seed,
        start=root / f"seed{seed}" / "initial",
        data=root / "data" / "train.pt",
        out=out,
        steps=study.steps,
        batch_size=study.batch_size,
    )
    write_json(out / "history.json", trainer.state.log_history)
    if not (out / "model").exists():
        save(trainer, out / "model")
    write_json(out / "progress.json", {"stage": "diagnose", "step": study.steps})
    task = get_task(study.task, **study.task_options)
    started = time.monotonic()
    result = diagnose(
        trainer.model,  # type: ignore[arg-type]
        trainer.processing_class,  # type: ignore[arg-type]
        task,
        n=study.test_instances,
        seed=TEST_SEED,
        progress=False,
    )
    seconds = {"train": round(trained, 1), "diagnose": round(time.monotonic() - started, 1)}
    write_json(out / "diagnosis.json", {**result.to_dict(), "seconds": seconds})


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    directory, name, number = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    run_base(directory, number) if name == BASE else run_arm(directory, name, number)
