"""One arm of an RL study from one start with one seed, in a process of its own.

Run as ``python -m percbal.study.rl_arm STUDY_DIRECTORY START ARM SEED``; the arm ``start`` only
evaluates the start itself. It leaves ``progress.json`` while it works, checkpoints to go on from,
and at the end ``history.json`` (what the trainer logged) and ``evaluation.json``, which is all that
the results are made from.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset

from percbal import rewards
from percbal.evaluate.sampled import Evaluation, evaluate
from percbal.grpo.config import BalancedGRPOConfig
from percbal.grpo.trainer import BalancedGRPOTrainer
from percbal.models.checkpoint import last_checkpoint
from percbal.models.loading import load_vlm
from percbal.responses.spans import Tags
from percbal.sft.collate import SegmentCollator, encode_examples
from percbal.sft.trainer import BalancedSFTConfig, BalancedSFTTrainer
from percbal.study.arm import (
    TEST_SEED,
    Progress,
    run_directory,
    trainer_options,
    write_json,
)
from percbal.study.rl_presets import RLArm, RLStudy
from percbal.study.runner import example
from percbal.tasks import Instance, Task, get_task

PROMPT_SEED = 30_000  # of the training instances, plus the arm's seed: fresh ones for all
# Pictures that no training drew, of solution grids that it draws and of the test's own. What was
# learned about the grids rather than from the pictures shows in the first alone.
HELD_OUT = {"known": "train", "new": "test"}
SIGNALS = ("outcome", "group_agreement", "blind_reanswer")


def arm_directory(root: Path, start: str, arm: str, seed: int) -> Path:
    """Where an arm from a start with a seed keeps what it makes."""
    return run_directory(run_directory(root, start, seed), arm, seed)


def start_model(root: Path, study: RLStudy, start: str) -> Path:
    """The directory of a starting model."""
    return run_directory(root / "starts", start, study.starts.seeds[0]) / "model"


def prompt_row(instance: Instance, begins_with: str) -> dict[str, Any]:
    """An instance as GRPO and the reward functions read it.

    begins_with: what the response has already, after the query: the tiny model's chat template
        has nothing between the two turns.
    """
    return {
        "prompt": [{"role": "user", "content": f"{instance.query} {begins_with}".strip()}],
        "image": instance.image,
        "perception": instance.perception,
        "answer": instance.answer,
        "grammar": "grid",
        "truth": json.dumps(instance.truth),
    }


def reward_functions(task: Task, arm: RLArm) -> list[Any]:
    """The truth for all arms, agreement to be followed by all, and what the arm is trained on."""
    truth = rewards.from_task(task)
    functions = [truth.outcome, truth.perception, truth.reasoning, rewards.group_agreement]
    if arm.options.get("perception_reward") == "blind_reanswer":
        functions.append(truth.blind_reanswer)
    return functions


def train_grpo(
    study: RLStudy, arm: RLArm, seed: int, out: Path, model: Any, processor: Any, task: Task
) -> list[dict[str, Any]]:
    """Returns what the trainer logged."""
    n = study.prompts * study.updates
    instances = [task.generate(index, "train", PROMPT_SEED + seed) for index in range(n)]
    rollouts = study.prompts * study.group
    # smaller pieces stay in the cache
    parts = next(n for n in range(max(1, rollouts // 128), 0, -1) if rollouts % n == 0)
    options: dict[str, Any] = {
        "true_perception": "perception",
        "true_reasoning": "reasoning",
        "measured": ["group_agreement"],
        "max_completion_length": study.max_tokens,
        **arm.options,
    }
    if options.get("perception_reward") == "group_agreement":
        options["measured"] = []
    args = BalancedGRPOConfig(
        **trainer_options(out, seed),
        max_steps=study.updates,
        per_device_train_batch_size=rollouts // parts,
        gradient_accumulation_steps=parts,
        num_generations=study.group,
        temperature=1.0,
        learning_rate=study.learning_rate,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=study.warmup,
        adam_beta2=0.95,
        max_grad_norm=1.0,
        generation_kwargs={"cache_implementation": "static"},
        log_completions=False,
        logging_steps=1,
        save_strategy="steps",
        save_steps=max(1, study.updates // 2),
        **options,
    )
    trainer = BalancedGRPOTrainer(
        model,
        reward_functions(task, arm),
        args,
        train_dataset=Dataset.from_list(
            [prompt_row(i, task.oracle_prefix(i) if arm.oracle else "") for i in instances]
        ),
        processing_class=processor,
        callbacks=[Progress(out / "progress.json")],
    )
    trainer.train(resume_from_checkpoint=last_checkpoint(out / "checkpoints"))
    return trainer.state.log_history


def train_sft(
    study: RLStudy, arm: RLArm, seed: int, out: Path, model: Any, processor: Any, task: Task
) -> list[dict[str, Any]]:
    """Fine-tuning on the solutions of fresh instances, for as much compute as the updates."""
    batch_size = study.starts.batch_size
    steps = study.sft_steps(batch_size)
    instances = (
        task.generate(index, "train", PROMPT_SEED + seed) for index in range(steps * batch_size)
    )
    data = encode_examples(map(example, instances), SegmentCollator(processor, Tags()))
    args = BalancedSFTConfig(
        **trainer_options(out, seed),
        max_steps=steps,
        per_device_train_batch_size=batch_size,
        lr_scheduler_type="cosine",
        warmup_steps=max(1, steps // 50),
        weight_decay=0.0,
        train_sampling_strategy="group_by_length",
        data_seed=seed,
        logging_steps=max(1, steps // 40),
        save_steps=max(1, steps // 2),
        **arm.options,
    )
    trainer = BalancedSFTTrainer(
        model,
        args,
        train_dataset=data,
        processing_class=processor,
        callbacks=[Progress(out / "progress.json")],
    )
    trainer.train(resume_from_checkpoint=last_checkpoint(out / "checkpoints"))
    return trainer.state.log_history


def signals(history: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Mean logged correlation of each reward with perception in each third of the training."""
    found = {}
    for name in SIGNALS:
        key = f"coupling/r_{name}_perception"
        series = [entry[key] for entry in history if key in entry]
        if len(series) >= 3:
            found[name] = [float(np.mean(part)) for part in np.array_split(series, 3)]
    return found


def run_arm(root: Path, start: str, arm_name: str, seed: int) -> None:
    """Train and evaluate one arm."""
    study = RLStudy.load(root / "study.json")
    out = arm_directory(root, start, arm_name, seed)
    task = get_task(study.starts.task, **study.starts.task_options)
    model, processor = load_vlm(start_model(root, study, start))
    began = time.monotonic()
    history: list[dict[str, Any]] = []
    if arm_name != "start":
        arm = study.arm(arm_name)
        train = {"grpo": train_grpo, "sft": train_sft}[arm.kind]
        history = train(study, arm, seed, out, model, processor, task)
        write_json(out / "history.json", history)
    trained = time.monotonic() - began
    found = {
        name: evaluate(
            model,
            processor,
            task,
            n=study.test_instances,
            samples=study.samples,
            split=split,
            instance_seed=TEST_SEED,
        )
        for name, split in HELD_OUT.items()
    }
    seconds = {"train": round(trained, 1), "evaluate": round(time.monotonic() - began - trained, 1)}
    write_json(
        out / "evaluation.json",
        {
            **{name: result.right() for name, result in found.items()},
            "coupling": Evaluation.joined(*found.values()).coupling(),
            "samples": study.samples,
            "signal": signals(history),
            "seconds": seconds,
        },
    )


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    run_arm(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))
