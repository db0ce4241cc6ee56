"""The two kinds of training that a study has.

They go on from their last checkpoint if there is one, and return what their trainer logged and
how they ended: a training that diverged is kept as it was before the step that it could not take.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedModel, ProcessorMixin, TrainerCallback

from percbal import rewards
from percbal.grpo.config import BalancedGRPOConfig
from percbal.grpo.trainer import BalancedGRPOTrainer
from percbal.models.finite import NonFiniteError
from percbal.models.resume import checkpoints
from percbal.sft.encoded import EncodedDataset
from percbal.sft.trainer import BalancedSFTConfig, BalancedSFTTrainer
from percbal.study.competence import MEASURED, Competence, Outcome, Stopped
from percbal.study.data import fresh, prompt_row
from percbal.study.job_pool import TRAINED, write_progress
from percbal.study.json_files import read_json, write_json
from percbal.study.machine import kind_of, made_here
from percbal.study.plan import GRPO, SFT, Arm
from percbal.study.recipes import DIVERGED, DONE, FLOOR, REACHED
from percbal.study.watch import Watch
from percbal.tasks import Task

History = list[dict[str, Any]]
SPENT = "spent.json"  # of a training: its seconds, and on what kinds of machines
FIRST = "first"  # the directory of the training before an arm's own
FIRST_SEED = 10_000  # of its batches, plus the run's seed
FLOOR_OVER = 10  # updates whose mean may not fall below the floor


@dataclass
class Trained:
    """How a training ended. outcome: whether it may be a start, by its stop rule if it has one.

    seconds, kinds: over all processes that had a part in it, see ``Progress``.
    """

    history: History
    status: str = DONE
    outcome: Outcome = field(default_factory=lambda: Outcome(REACHED))
    seconds: float = 0.0
    kinds: list[Any] = field(default_factory=list)


class Progress(TrainerCallback):
    """Leaves the part that is done in a file that the parent process reads, twice a second.

    And in ``spent.json`` the seconds of this process and of those before it that were interrupted,
    and the kinds of machines (``kind_of``) that they ran on.
    """

    def __init__(self, directory: Path) -> None:
        self.directory, self.written, self.began = directory, 0.0, time.monotonic()
        past = read_json(directory / SPENT) or {"seconds": 0.0, "kinds": []}
        here = kind_of(made_here(torch.get_num_threads()))
        self.past, self.kinds = past["seconds"], past["kinds"]
        if here not in self.kinds:
            self.kinds.append(here)

    def spent(self) -> dict[str, Any]:
        """As of now, also in the file."""
        seconds = self.past + time.monotonic() - self.began
        found = {"seconds": seconds, "kinds": self.kinds}
        write_json(self.directory / SPENT, found)
        return found

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if time.monotonic() - self.written > 0.5:
            write_progress(self.directory, TRAINED * state.global_step / state.max_steps)
            self.spent()
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
    task: Task | None = None,
) -> Trained:
    """Train ``model`` in place.

    task: what to measure a stop rule by; needed where the recipe has one.
    """
    if arm.first:
        steps = round(arm.first_share * recipe.steps)
        before = replace(arm, options=arm.first, first={})
        short = replace(recipe, steps=steps)
        first = fine_tune(model, processor, data, short, before, seed + FIRST_SEED, out / FIRST)
        if first.status != DONE:
            return first
        rest, arm = replace(recipe, steps=recipe.steps - steps), replace(arm, first={})
        then = fine_tune(model, processor, data, rest, arm, seed, out, task)
        return _joined(first, then, steps)
    progress = Progress(out)
    callbacks: list[TrainerCallback] = [progress]
    rule = None
    if recipe.stop is not None:
        assert task is not None, "a stop rule is measured on a task"
        rule = Competence(recipe.stop, task, processor, out / MEASURED)
        callbacks.append(rule)
    trainer = BalancedSFTTrainer(
        model,
        BalancedSFTConfig(**common_options(out, seed), **sft_options(recipe, arm, seed)),
        train_dataset=data,
        processing_class=processor,
        callbacks=callbacks,
    )
    status = _train(trainer, out)
    outcome = rule.outcome if rule else Outcome(REACHED)
    if status == DIVERGED:  # it reached nothing, whatever was measured before
        step = trainer.state.global_step
        outcome = replace(outcome, verdict=f"{DIVERGED} after {step} steps", steps=step)
    return Trained(trainer.state.log_history, status, outcome, **progress.spent())


def _joined(first: Trained, then: Trained, steps: int) -> Trained:
    """Of one training after another, whose steps are counted on from those of the first."""
    kinds = first.kinds + [kind for kind in then.kinds if kind not in first.kinds]
    later = [{**entry, "step": entry["step"] + steps} for entry in then.history]
    seconds = first.seconds + then.seconds
    return replace(then, history=first.history + later, seconds=seconds, kinds=kinds)


def sft_options(recipe: SFT, arm: Arm, seed: int) -> dict[str, Any]:
    """Of ``BalancedSFTConfig``."""
    return {
        "max_steps": recipe.steps,
        "per_device_train_batch_size": recipe.batch_size,
        "learning_rate": recipe.learning_rate,
        "lr_scheduler_type": "constant_with_warmup" if recipe.stop else "cosine",
        "warmup_steps": 20 if recipe.stop else recipe.steps // 50,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        # of like lengths: a third of a random batch of full responses would be padding
        "train_sampling_strategy": "random" if recipe.any_length else "group_by_length",
        # accelerate adds the epoch to that of random batches: neighbours would have one order
        "data_seed": 1000 * seed if recipe.any_length else seed,
        "dataloader_num_workers": 0,
        "logging_steps": max(1, recipe.steps // 60),
        # where a training will stop is not known: often enough that little is lost
        "save_steps": 100 if recipe.stop else max(1, recipe.steps // 3),
        **arm.options,
    }


def _train(trainer: Any, out: Path) -> str:
    """How it ended."""
    try:
        trainer.train(resume_from_checkpoint=bool(checkpoints(out / "checkpoints")))
    except NonFiniteError:
        return DIVERGED
    except Stopped:  # before it was interrupted
        pass
    return DONE


def reinforce(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    task: Task,
    recipe: GRPO,
    arm: Arm,
    seed: int,
    out: Path,
    watch: Watch | None = None,
) -> Trained:
    """Train ``model`` in place, on fresh prompts.

    watch: measures it on the way.
    """
    instances = fresh(task, recipe.prompts * recipe.updates, seed)
    floor, progress = Floor(recipe.readable), Progress(out)
    trainer = BalancedGRPOTrainer(
        model,
        reward_functions(task, arm, seed),
        BalancedGRPOConfig(**common_options(out, seed), **grpo_options(recipe, arm)),
        train_dataset=Dataset.from_list(
            [prompt_row(task, i, task.oracle_prefix(i) if arm.oracle else "") for i in instances]
        ),
        processing_class=processor,
        callbacks=[progress, floor, *([watch] if watch else [])],
    )
    ended = _train(trainer, out)
    status = FLOOR if floor.reached else ended
    return Trained(trainer.state.log_history, status, **progress.spent())


class Floor(TrainerCallback):
    """Ends a reinforcement whose rollouts cannot be read any more."""

    def __init__(self, readable: float) -> None:
        self.readable, self.reached = readable, False

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Also one that was interrupted as it had ended."""
        if self._below(state):
            self.reached = True
            raise Stopped

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._below(state):
            self.reached = control.should_training_stop = True

    def _below(self, state: Any) -> bool:
        key = "segments/parse_fail"
        shares = [1 - float(log[key]) for log in state.log_history if key in log][-FLOOR_OVER:]
        return len(shares) == FLOOR_OVER and sum(shares) / FLOOR_OVER < self.readable


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


def reward_functions(task: Task, arm: Arm, seed: int) -> list[Any]:
    """The truth for all arms, agreement to be followed by all, and what the arm is trained on."""
    truth = rewards.from_task(task)
    functions = [truth.outcome, truth.perception, truth.reasoning, rewards.group_agreement]
    trained_on = {
        "blind_reanswer": truth.blind_reanswer,
        "perception_f1": truth.perception_f1,
        "flipped_perception": rewards.flipped(truth.perception, arm.flips, seed),
    }.get(arm.options.get("perception_reward", ""))
    return functions if trained_on is None else [*functions, trained_on]
