"""The two kinds of training that a study has.

They go on from their last checkpoint if there is one, and return what their trainer logged.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedModel, ProcessorMixin, TrainerCallback

from percbal import rewards
from percbal.grpo.config import BalancedGRPOConfig
from percbal.grpo.trainer import BalancedGRPOTrainer
from percbal.models.resume import checkpoints
from percbal.sft.encoded import EncodedDataset
from percbal.sft.trainer import BalancedSFTConfig, BalancedSFTTrainer
from percbal.study.data import fresh, prompt_row
from percbal.study.job_pool import TRAINED, write_progress
from percbal.study.plan import GRPO, SFT, Arm
from percbal.tasks import Task

History = list[dict[str, Any]]


class Progress(TrainerCallback):
    """Leaves the part that is done in a file that the parent process reads, twice a second."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.written = directory, 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if time.monotonic() - self.written > 0.5:
            write_progress(self.directory, TRAINED * state.global_step / state.max_steps)
            self.written = time.monotonic()


def common_options(out: Path, seed: int) -> dict[str, Any]:
    """What all trainings have in common: quiet, in float32, kept below ``out``."""
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


def fine_tune(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    data: EncodedDataset,
    recipe: SFT,
    arm: Arm,
    seed: int,
    out: Path,
) -> History:
    """Train ``model`` in place."""
    options = {
        "max_steps": recipe.steps,
        "per_device_train_batch_size": recipe.batch_size,
        "learning_rate": recipe.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": recipe.steps // 50,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        # batches of like lengths: a third of a random batch would be padding
        "train_sampling_strategy": "group_by_length",
        "data_seed": seed,
        "dataloader_num_workers": 0,
        "logging_steps": max(1, recipe.steps // 60),
        "save_steps": max(1, recipe.steps // 3),
        **arm.options,
    }
    trainer = BalancedSFTTrainer(
        model,
        BalancedSFTConfig(**common_options(out, seed), **options),
        train_dataset=data,
        processing_class=processor,
        callbacks=[Progress(out)],
    )
    trainer.train(resume_from_checkpoint=bool(checkpoints(out / "checkpoints")))
    return trainer.state.log_history


def reinforce(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    task: Task,
    recipe: GRPO,
    arm: Arm,
    seed: int,
    out: Path,
) -> History:
    """Train ``model`` in place, on fresh prompts."""
    instances = fresh(task, recipe.prompts * recipe.updates, seed)
    trainer = BalancedGRPOTrainer(
        model,
        reward_functions(task, arm),
        BalancedGRPOConfig(**common_options(out, seed), **grpo_options(recipe, arm)),
        train_dataset=Dataset.from_list(
            [prompt_row(task, i, task.oracle_prefix(i) if arm.oracle else "") for i in instances]
        ),
        processing_class=processor,
        callbacks=[Progress(out)],
    )
    trainer.train(resume_from_checkpoint=bool(checkpoints(out / "checkpoints")))
    return trainer.state.log_history


def grpo_options(recipe: GRPO, arm: Arm) -> dict[str, Any]:
    """Of ``BalancedGRPOConfig``."""
    rollouts = recipe.prompts * recipe.group
    # smaller pieces stay in the cache
    parts = next(n for n in range(max(1, rollouts // 128), 0, -1) if rollouts % n == 0)
    trained_on_agreement = arm.options.get("perception_reward") == "group_agreement"
    return {
        "max_steps": recipe.updates,
        "per_device_train_batch_size": rollouts // parts,
        "gradient_accumulation_steps": parts,
        "num_generations": recipe.group,
        "temperature": 1.0,
        "learning_rate": recipe.learning_rate,
        "lr_scheduler_type": "constant_with_warmup",
        "warmup_steps": recipe.warmup,
        "adam_beta2": 0.95,
        "max_grad_norm": 1.0,
        "max_completion_length": recipe.max_tokens,
        "generation_kwargs": {"cache_implementation": "static"},
        "true_perception": "perception",
        "true_reasoning": "reasoning",
        "measured": [] if trained_on_agreement else ["group_agreement"],
        "log_completions": False,
        "logging_steps": 1,
        "save_strategy": "steps",
        "save_steps": max(1, recipe.updates // 2),
        **arm.options,
    }


def reward_functions(task: Task, arm: Arm) -> list[Any]:
    """The truth for all arms, agreement to be followed by all, and what the arm is trained on."""
    truth = rewards.from_task(task)
    functions = [truth.outcome, truth.perception, truth.reasoning, rewards.group_agreement]
    if arm.options.get("perception_reward") == "blind_reanswer":
        functions.append(truth.blind_reanswer)
    return functions
