"""Small trainings that are disturbed: 8 steps, a checkpoint after every second, two of them kept.

Each goes on from the newest whole checkpoint below its directory, as the command line does.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rl_fixtures as rl
import torch
import vlm_fixtures as vlm
from peft import LoraConfig

from percbal.grpo.trainer import BalancedGRPOTrainer
from percbal.models.resume import checkpoints
from percbal.sft.trainer import BalancedSFTTrainer

STEPS, BAD_STEP = 8, 4
UNCHANGED = object()
SAVING = {"max_steps": STEPS, "save_strategy": "steps", "save_steps": 2, "save_total_limit": 2}
SFT = {
    "token_mean": {"balance": "token_mean"},
    "fixed": {"balance": "fixed"},
    "ngdiff": {"balance": "ngdiff", "ngdiff_decay": 0.9},
    "ngdiff_unbiased": {
        "balance": "ngdiff_unbiased",
        "ngdiff_decay": 0.9,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
    },
    # of its exact steps the first three are steps 1, 2 and 4: checkpoints lie between them
    "calibrated": {"balance": "calibrated", "calibrated_tolerance": 9.0, "ngdiff_decay": 0.9},
    "head": {"balance": "head", "chunked_logits": True, "ngdiff_decay": 0.9},
    "adapters": {"balance": "ngdiff", "ngdiff_decay": 0.9},
}
GRPO: dict[str, dict[str, Any]] = {
    "grpo": {"credit": "same_perception"},
    "grpo coupling": {"credit": "segment", "alpha_rule": "coupling"},
}
KINDS = (*SFT, *GRPO)


@functools.cache
def fine_tuned() -> tuple[Any, Any, Any]:
    """Model, processor and encoded examples."""
    folder = Path(tempfile.mkdtemp())
    return vlm.model_and_data("llava", folder, [vlm.example_at(i) for i in range(16)])


@functools.cache
def reinforced() -> tuple[Any, Any]:
    """Model and processor."""
    return rl.tiny_policy(Path(tempfile.mkdtemp()))


def prepare() -> None:
    """All models, before processes are forked."""
    fine_tuned()
    reinforced()


class Disturbed(BalancedGRPOTrainer):
    """A pixel of the rollouts of step 4 is NaN."""

    bad_pixel = False

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        batch = super()._generate_and_score_completions(inputs)
        if self.bad_pixel and self.state.global_step == BAD_STEP - 1:
            batch["pixel_values"] = batch["pixel_values"].clone()
            batch["pixel_values"][1, 0, 3, 3] = math.nan
        return batch


def rewards(trainer: Callable[[], Any], instead: float | None) -> list[Any]:
    """Those of the fixtures, but for the outcome of step 4's first rollout."""

    def outcome(completions: Any, **columns: Any) -> list[float | None]:
        values: list[float | None] = [*rl.outcome(completions, **columns)]
        if trainer().state.global_step == BAD_STEP - 1:
            values[0] = instead
        return values

    return [outcome, rl.perception]


def make(kind: str, out: Path, *, bad_pixel: bool = False, reward: Any = UNCHANGED) -> Any:
    """A trainer whose checkpoints lie in ``out``. bad_pixel: one that is NaN, met in step 4.
    reward: of GRPO, what the outcome of a rollout of that step is instead."""
    torch.manual_seed(0)
    if kind in GRPO:
        model, processor = reinforced()
        policy = (copy.deepcopy(model), processor)
        options = rl.OPTIONS | SAVING | {"learning_rate": 1e-3} | GRPO[kind]
        given = None if reward is UNCHANGED else rewards(lambda: made, reward)
        made = rl.trainer(policy, out, given, Disturbed, **options)
        made.bad_pixel = bad_pixel
        return made
    model, processor, data = fine_tuned()
    if bad_pixel:
        data = copy.deepcopy(data)
        data.columns["pixel_values"][13, 0, 3, 3] = math.nan
    options = {"optim": "adamw_torch", "learning_rate": 1e-2, "per_device_train_batch_size": 4}
    adapters = LoraConfig(r=2, target_modules=["q_proj"]) if kind == "adapters" else None
    return BalancedSFTTrainer(
        copy.deepcopy(model),
        vlm.config(out, **(SAVING | options | SFT[kind])),
        train_dataset=data,
        processing_class=processor,
        peft_config=adapters,
    )


def train(kind: str, out: Path, **options: Any) -> str:
    """Start or go on; returns the digest of the final weights."""
    trainer = make(kind, out, **options)
    trainer.train(resume_from_checkpoint=bool(checkpoints(out)))
    return digest(trainer.model)


def digest(model: torch.nn.Module) -> str:
    """Of all parameters, bit for bit."""
    found = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        found.update(name.encode())
        found.update(parameter.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
