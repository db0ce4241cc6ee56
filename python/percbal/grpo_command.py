"""``percbal grpo``: parse, load, train, save."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from trl import TrlParser

from percbal.checkpoint import last_checkpoint
from percbal.grpo import BalancedGRPOTrainer
from percbal.grpo_config import BalancedGRPOConfig
from percbal.loading import load_vlm
from percbal.lora import LoRAArguments
from percbal.sft_command import read_dataset


@dataclass
class GRPOArguments:
    """What ``percbal grpo`` takes besides ``BalancedGRPOConfig``."""

    model: str = field(metadata={"help": "Directory or hub name of a vision-language model."})
    dataset: str = field(
        metadata={
            "help": "JSON lines of `percbal tasks --export`, or the directory or hub name of a "
            "dataset with images, prompt (or messages) and the columns that the rewards read."
        }
    )
    dtype: str = field(
        default="float32",
        metadata={
            "help": "Of the weights: float32, bfloat16, float16, or auto as they were saved."
        },
    )
    split: str = field(default="train", metadata={"help": "Split of a dataset with several."})
    reward_funcs: list[str] = field(
        default_factory=lambda: ["percbal.rewards.outcome", "percbal.rewards.perception"],
        metadata={"help": "Dotted paths of reward functions; outcome_reward and others name them."},
    )
    resume: bool = field(
        default=True, metadata={"help": "Go on from the last checkpoint in output_dir, if any."}
    )


def run_grpo(arguments: list[str]) -> None:
    """Train as the arguments say; the model and its processor end up in output_dir."""
    parser = TrlParser([GRPOArguments, LoRAArguments, BalancedGRPOConfig], prog="percbal grpo")  # type: ignore[list-item]
    script, lora, config = parser.parse_args_and_config(arguments)
    adapters = lora.config()
    functions = [reward_function(path) for path in script.reward_funcs]
    dataset = read_dataset(script.dataset, script.split, completions=False)
    model, processor = load_vlm(script.model, dtype=script.dtype)
    trainer = BalancedGRPOTrainer(
        model,
        functions,
        config,
        train_dataset=dataset,
        processing_class=processor,
        peft_config=adapters,
    )
    output = str(config.output_dir)
    trainer.train(resume_from_checkpoint=last_checkpoint(output) if script.resume else None)
    trainer.save_model(output)
    if trainer.is_world_process_zero():
        processor.save_pretrained(output)


def reward_function(path: str) -> Callable[..., Any]:
    """The function at a dotted path, ``package.module.function``.

    Raises ValueError naming the part that is not there.
    """
    module_name, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), name)
    except (ImportError, ValueError, AttributeError) as problem:
        raise ValueError(f"there is no reward function {path}: {problem}") from None
    if not callable(found):
        raise ValueError(f"{path} is no function but {type(found).__name__}")
    return found
