"""What ``percbal sft`` and ``percbal grpo`` share: arguments, data, start and end."""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from trl import TrlParser

from percbal.cli.config_file import parsed
from percbal.cli.diagnosis_options import DiagnosisArguments
from percbal.cli.help import HELP, grouped, help_text
from percbal.cli.kept_help import keep_help
from percbal.cli.legend import legend
from percbal.cli.training_data import TrainingData, end_dry_run
from percbal.data.limits import MAX_PIXELS
from percbal.models.lora import LoRAArguments

if TYPE_CHECKING:
    from transformers import ProcessorMixin, Trainer


@dataclass(kw_only=True)
class DataArguments:
    """Which rows are read, and what becomes of those that cannot be used."""

    HELP_GROUP: ClassVar[str] = "data"

    dataset: str = field(
        metadata={
            "help": "File, folder or hub name of a data set (docs/data.md), such as the JSON lines "
            "of `percbal tasks --export`."
        }
    )
    split: str = field(default="train", metadata={"help": "Split of a dataset with several."})
    images_within: str | None = field(
        default=None,
        metadata={
            "help": "Folder that paths of images may not leave; / for any path. None: the data "
            "set's own folder."
        },
    )
    max_image_pixels: int = field(
        default=MAX_PIXELS,
        metadata={"help": "Width times height of the largest image that is opened."},
    )
    on_bad_row: str = field(
        default="stop",
        metadata={
            "help": "What a row does that cannot be used: stop, or skip, which tries all rows "
            "first and leaves such rows out."
        },
    )


@dataclass(kw_only=True)
class TrainArguments(DataArguments, DiagnosisArguments):
    """What both commands take besides the options of their trainer."""

    HELP_GROUP: ClassVar[str] = "run"
    COMMAND: ClassVar[str]

    model: str = field(metadata={"help": "Directory or hub name of a vision-language model."})
    dtype: str = field(
        default="float32",
        metadata={
            "help": "Of the weights: float32, bfloat16, float16, or auto as they were saved."
        },
    )
    resume: bool = field(
        default=True,
        metadata={
            "help": "Go on from the last checkpoint in output_dir, if any. False: begin anew; an "
            "output_dir that has any is refused."
        },
    )
    dry_run: bool = field(
        default=False,
        metadata={"help": "Try every row and set everything up, but do not train."},
    )


def ignore_upstream_warnings() -> None:
    """Of what TRL 1.16 calls by its old name under transformers 5.24, and nobody else can mend.

    Its `trl.models.utils.disable_gradient_checkpointing`, around every sampling of GRPO.
    """
    warnings.filterwarnings(
        "ignore",
        r"`(is_gradient_checkpointing|gradient_checkpointing_(enable|disable))` is deprecated",
        FutureWarning,
        r"transformers\.modeling_utils",
    )


def parse(command: str, own: type, options: type, arguments: list[str]) -> tuple[Any, Any, Any]:
    """The command's own arguments, a ``peft.LoraConfig`` or None, and the trainer's options.

    Asked for help it says that instead, and exits.
    """
    if asked := HELP.intersection(arguments):
        said = grouped([own, LoRAArguments, options])
        keep_help(command, said)
        print(help_text(command, said, everything="--help-all" in asked))
        sys.exit(0)
    ignore_upstream_warnings()
    parser = TrlParser([own, LoRAArguments, options], prog=f"percbal {command}")  # type: ignore[list-item]
    script, lora, config = parsed(parser, arguments)
    refuse_foreign_checkpoints(script, str(config.output_dir))
    return script, lora.config(), config


def refuse_foreign_checkpoints(script: TrainArguments, output: str) -> None:
    """A run that begins anew beside another's checkpoints would be taken for that one later.

    The newest is known by its number, also where ``save_total_limit`` removes the others.
    """
    from percbal.models.resume import checkpoints

    if not script.resume and (found := checkpoints(output)):
        raise ValueError(
            f"resume: false begins a run of its own, and {output} has {found[0].name} of another "
            "one; remove its checkpoints, or give another output_dir"
        )


def train_and_save(
    trainer: Trainer, processor: ProcessorMixin, script: TrainArguments, *data: TrainingData
) -> None:
    """The trained model and its processor end up in the trainer's output_dir.

    In a dry run nothing does: it is said what would train, and of which data, all that fails.
    """
    from percbal.models.resume import checkpoints

    if script.dry_run:
        return end_dry_run(trainer, data)
    if (diagnosis := script.diagnosis(processor)) is not None:
        trainer.add_callback(diagnosis)
    if trainer.is_world_process_zero() and sys.stdout.isatty():
        print(legend(script.COMMAND, diagnosis=diagnosis is not None))
    output = str(trainer.args.output_dir)
    trainer.train(resume_from_checkpoint=script.resume and bool(checkpoints(output)))
    trainer.save_model(output)
    if trainer.is_world_process_zero():
        processor.save_pretrained(output)
