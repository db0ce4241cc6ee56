"""What ``percbal sft`` and ``percbal grpo`` share: arguments, data, start and end."""

from __future__ import annotations

from dataclasses import dataclass, field

from datasets import Dataset
from transformers import ProcessorMixin, Trainer

from percbal.data.images import MAX_PIXELS
from percbal.data.reading import read_dataset
from percbal.models.checkpoint import last_checkpoint


@dataclass(kw_only=True)
class TrainArguments:
    """What both commands take besides the options of their trainer."""

    model: str = field(metadata={"help": "Directory or hub name of a vision-language model."})
    dtype: str = field(
        default="float32",
        metadata={
            "help": "Of the weights: float32, bfloat16, float16, or auto as they were saved."
        },
    )
    split: str = field(default="train", metadata={"help": "Split of a dataset with several."})
    resume: bool = field(
        default=True, metadata={"help": "Go on from the last checkpoint in output_dir, if any."}
    )
    images_within: str | None = field(
        default=None,
        metadata={
            "help": "Folder that paths of images may not leave; / for any path. Default: the data "
            "set's own folder."
        },
    )
    max_image_pixels: int = field(
        default=MAX_PIXELS,
        metadata={"help": "Width times height of the largest image that is opened."},
    )

    def read(self, source: str, split: str, *, completions: bool = True) -> Dataset:
        """A data set by the options for images."""
        return read_dataset(
            source,
            split,
            completions=completions,
            images_within=self.images_within,
            max_image_pixels=self.max_image_pixels,
        )


def train_and_save(trainer: Trainer, processor: ProcessorMixin, *, resume: bool) -> None:
    """The trained model and its processor end up in the trainer's output_dir."""
    output = str(trainer.args.output_dir)
    trainer.train(resume_from_checkpoint=last_checkpoint(output) if resume else None)
    trainer.save_model(output)
    if trainer.is_world_process_zero():
        processor.save_pretrained(output)
