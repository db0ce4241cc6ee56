"""``percbal sft``: parse, load, train, save."""

from __future__ import annotations

from dataclasses import dataclass, field

from percbal.cli.training import TrainArguments, parse, train_and_save
from percbal.models.loading import load_vlm
from percbal.sft.config import BalancedSFTConfig


@dataclass(kw_only=True)
class SFTArguments(TrainArguments):
    """What ``percbal sft`` takes besides ``BalancedSFTConfig``."""

    dataset: str = field(
        metadata={
            "help": "JSON lines of `percbal tasks --export`, or the directory or hub name of a "
            "dataset with images and prompt + completion, or messages, and optionally segments."
        }
    )
    eval_dataset: str | None = field(default=None, metadata={"help": "To report losses on."})
    eval_split: str = field(default="test", metadata={"help": "Split of eval_dataset."})


def run(arguments: list[str]) -> None:
    """Train as the arguments say; the model and its processor end up in output_dir."""
    script, adapters, config = parse("sft", SFTArguments, BalancedSFTConfig, arguments)
    from percbal.sft.trainer import BalancedSFTTrainer  # not for --help

    dataset = script.read(script.dataset, script.split)
    evaluation = script.eval_dataset and script.read(script.eval_dataset, script.eval_split)
    model, processor = load_vlm(script.model, dtype=script.dtype)
    trainer = BalancedSFTTrainer(
        model,
        config,
        train_dataset=dataset,
        eval_dataset=evaluation or None,
        processing_class=processor,
        peft_config=adapters,
    )
    train_and_save(trainer, processor, resume=script.resume)
