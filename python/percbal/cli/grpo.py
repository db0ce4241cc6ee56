"""``percbal grpo``: parse, load, train, save."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from percbal.cli.training import TrainArguments, parse, train_and_save
from percbal.cli.training_data import TrainingData
from percbal.grpo.config import BalancedGRPOConfig
from percbal.models.callbacks import LoggingCallback
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


class TextsForWandb(LoggingCallback):
    """W&B's tables take no messages in parts, which TRL 1.16 puts into its table of rollouts.

    Called before TRL makes it, where ``report_to`` names W&B.
    """

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        prompts = self.trainer._logs["prompt"]
        for i, messages in enumerate(prompts):
            if not isinstance(messages, str):
                prompts[i] = [{**m, "content": _as_text(m["content"])} for m in messages]


def _as_text(content: str | list[dict[str, Any]]) -> str:
    if isinstance(content, str):
        return content
    return "".join(part.get("text", f"<{part['type']}>") for part in content)


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
    if "wandb" in config.report_to:
        trainer.add_callback(TextsForWandb())
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
