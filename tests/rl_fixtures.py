"""A tiny policy that writes tags by chance, prompts, and rewards, for the tests of GRPO."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from PIL import Image

from percbal.grpo.config import BalancedGRPOConfig
from percbal.grpo.trainer import BalancedGRPOTrainer
from percbal.models.loading import load_vlm
from percbal.models.tiny import build_tiny_vlm

TAGS = ("<perception>", "</perception>")
WORDS = ["yes", "no", "red"]
TOKENS = 16  # of a completion


def tiny_policy(directory: Path) -> Any:
    """Model and processor; so few words that about one sample in ten has a perception."""
    sizes = {"image_size": 32, "hidden": 16, "layers": 1, "heads": 2, "mlp": 32}
    return load_vlm(build_tiny_vlm(directory, ["look", *TAGS, *WORDS], init_std=0.1, **sizes))


def prompts(n: int = 16) -> Dataset:
    rng = np.random.default_rng(0)
    images = [
        Image.fromarray(rng.integers(0, 256, (32, 32), dtype=np.uint8)).convert("RGB")
        for _ in range(n)
    ]
    rows = [
        {"prompt": [{"role": "user", "content": "look"}], "image": image, "answer": WORDS[i % 2]}
        for i, image in enumerate(images)
    ]
    return Dataset.from_list(rows)


def words(completions: Any) -> list[list[str]]:
    return [completion[0]["content"].split() for completion in completions]


def outcome(completions: Any, answer: Any, **_: Any) -> list[float]:
    """How often the right word was said."""
    return [
        float(found.count(right)) for found, right in zip(words(completions), answer, strict=True)
    ]


def perception(completions: Any, **_: Any) -> list[float]:
    return [float("red" in found) for found in words(completions)]


OPTIONS: dict[str, Any] = {
    "per_device_train_batch_size": 8,
    "num_generations": 4,
    "max_completion_length": TOKENS,
    "max_steps": 3,
    "learning_rate": 1e-2,
    "lr_scheduler_type": "constant",
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "report_to": "none",
    "logging_steps": 1,
    "save_strategy": "no",
    "disable_tqdm": True,
    "log_completions": False,
    "seed": 5,
}


def trainer(
    policy: Any,
    out: Path,
    rewards: Any = None,
    kind: type[BalancedGRPOTrainer] = BalancedGRPOTrainer,
    peft_config: Any = None,
    **options: Any,
) -> BalancedGRPOTrainer:
    model, processor = policy
    args = BalancedGRPOConfig(str(out), **(OPTIONS | options))
    return kind(
        model,
        [outcome, perception] if rewards is None else rewards,
        args,
        train_dataset=prompts(),
        processing_class=processor,
        peft_config=peft_config,
    )
