"""``percbal grpo``: parse, load, train, save."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from percbal.cli.training import TrainArguments, parse, train_and_save
from percbal.cli.training_data import TrainingData
from percbal.grpo.config import BalancedGRPOConfig
from percbal.models.loading import load_vlm


@dataclass(kw_only=True)
class GRPOArguments(TrainArguments):
    """What ``percbal grpo`` takes besides ``BalancedGRPOConfig``."""

    COMMAND: ClassVar[str] = "grpo"
    HELP_GROUP: ClassVar[str] = "rewards and credit"

    reward_funcs: list[str] = field(
        default_factory=lambda: ["percbal.rewards.outcome", "percbal.rewards.perception"],
        metadata={"help": "Dotted paths of reward functions; outcome_reward and others name them."},
    )


def run(arguments: list[str]) -> None:
    """Train as the arguments say; the model and its processor end up in output_dir."""
    script, adapters, config = parse("grpo", GRPOArguments, BalancedGRPOConfig, arguments)
    from percbal.grpo.trainer import BalancedGRPOTrainer  # not for --help
    from percbal.sft.check import encode_prompts

    functions = [reward_function(path) for path in script.reward_funcs]
    data = TrainingData(script, script.dataset, script.split, completions=False)
    model, processor = load_vlm(script.model, dtype=script.dtype)
    asking = config.asking(config.chat_template_kwargs)
    trainer = BalancedGRPOTrainer(
        model,
        functions,
        config,
        train_dataset=data.try_rows(encode_prompts(processor, asking), processor),
        processing_class=processor,
        peft_config=adapters,
    )
    train_and_save(trainer, processor, script, data)


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
