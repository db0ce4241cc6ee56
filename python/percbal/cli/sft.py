"""``percbal sft``: parse, load, train, save."""

from __future__ import annotations

from dataclasses import dataclass, field

from trl import TrlParser

from percbal.cli.training import TrainArguments, parsed, train_and_save
from percbal.models.loading import load_vlm
from percbal.models.lora import LoRAArguments
from percbal.sft.trainer import BalancedSFTConfig, BalancedSFTTrainer


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


def run_sft(arguments: list[str]) -> None:
    """Train as the arguments say; the model and its processor end up in output_dir."""
    parser = TrlParser([SFTArguments, LoRAArguments, BalancedSFTConfig], prog="percbal sft")  # type: ignore[list-item]
    script, lora, config = parsed(parser, arguments)
    adapters = lora.config()
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
