"""``percbal sft``: parse, load, train, save."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field
from typing import ClassVar

from percbal.cli.training import TrainArguments, parse, train_and_save
from percbal.cli.training_data import TrainingData
from percbal.models.loading import load_vlm
from percbal.sft.config import BalancedSFTConfig


@dataclass(kw_only=True)
class SFTArguments(TrainArguments):
    """What ``percbal sft`` takes besides ``BalancedSFTConfig``."""

    COMMAND: ClassVar[str] = "sft"
    HELP_GROUP: ClassVar[str] = "data"

    eval_dataset: str | None = field(
        default=None, metadata={"help": "Data set to report losses on, see eval_strategy."}
    )
    eval_split: str = field(default="test", metadata={"help": "Split of eval_dataset."})


def run(arguments: list[str]) -> None:
    """Train as the arguments say; the model and its processor end up in output_dir."""
    script, adapters, config = parse("sft", SFTArguments, BalancedSFTConfig, arguments)
    from percbal.sft.refusals import refuse_grouping  # not for --help
    from percbal.sft.trainer import BalancedSFTTrainer

    sources = {"train": (script.dataset, script.split)}
    if script.eval_dataset:
        sources["eval"] = (script.eval_dataset, script.eval_split)
    data = {name: TrainingData(script, *of, completions=True) for name, of in sources.items()}
    refuse_grouping(config, data["train"].rows)
    model, processor = load_vlm(script.model, dtype=script.dtype)
    uncut = copy(config)  # max_length is counted, not applied
    uncut.max_length = None
    collator = uncut.make_collator(processor)
    rows = {n: d.try_rows(collator, processor, config.max_length) for n, d in data.items()}
    trainer = BalancedSFTTrainer(
        model,
        config,
        train_dataset=rows["train"],
        eval_dataset=rows.get("eval"),
        processing_class=processor,
        peft_config=adapters,
    )
    train_and_save(trainer, processor, script, *data.values())
