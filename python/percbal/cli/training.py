"""What ``percbal sft`` and ``percbal grpo`` share: arguments, data, start and end."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trl import TrlParser

from percbal.models.lora import LoRAArguments

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import ProcessorMixin, Trainer


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


def parse(command: str, own: type, options: type, arguments: list[str]) -> tuple[Any, Any, Any]:
    """The command's own arguments, a ``peft.LoraConfig`` or None, and the trainer's options."""
    parser = TrlParser([own, LoRAArguments, options], prog=f"percbal {command}")  # type: ignore[list-item]
    script, lora, config = parser.parse_args_and_config(arguments)
    return script, lora.config(), config


def train_and_save(trainer: Trainer, processor: ProcessorMixin, *, resume: bool) -> None:
    """The trained model and its processor end up in the trainer's output_dir."""
    from percbal.models.resume import checkpoints

    output = str(trainer.args.output_dir)
    trainer.train(resume_from_checkpoint=resume and bool(checkpoints(output)))
    trainer.save_model(output)
    if trainer.is_world_process_zero():
        processor.save_pretrained(output)


def read_dataset(source: str, split: str, *, completions: bool = True) -> Dataset:
    """A dataset with images, prompt, completion, and every other column that it has.

    completions: whether there must be one in every row. ValueError names what is missing.
    """
    from datasets import DatasetDict, Image, Sequence, load_dataset  # not for --help

    path = Path(source)
    if path.suffix in (".jsonl", ".json"):
        if not path.is_file():
            raise ValueError(f"there is no file {source}")
        data: Any = load_dataset("json", data_files=str(path), split="train")
        if "images" in data.column_names:  # paths beside the file
            data = data.map(lambda row: {"images": [str(path.parent / i) for i in row["images"]]})
    else:
        data = load_dataset(source)
    if isinstance(data, DatasetDict):
        if split not in data:
            raise ValueError(f"{source} has no split {split!r}, only {', '.join(data)}")
        data = data[split]
    needed = {"prompt", "completion"} if completions else {"prompt"}
    if "messages" in data.column_names and not needed <= set(data.column_names):
        # a prompt in parts, as exports have, would force its column's type on the new one
        data = data.remove_columns([n for n in ("prompt",) if n in data.column_names])
        data = data.map(_prompt_and_completion, remove_columns="messages")
    missing = needed - set(data.column_names)
    if missing or not {"image", "images"} & set(data.column_names):
        raise ValueError(
            f"{source} needs the columns {' and '.join(sorted(needed))} (or messages) and images, "
            f"it has {', '.join(data.column_names)}"
        )
    return data.cast_column("images", Sequence(Image())) if "images" in data.column_names else data


def _prompt_and_completion(row: dict[str, Any]) -> dict[str, Any]:
    """The last message is what to learn; texts in parts become plain strings."""
    messages = [
        {"role": message["role"], "content": _text(message["content"])}
        for message in row["messages"]
    ]
    return {"prompt": messages[:-1], "completion": messages[-1:]}


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content if part["type"] == "text")
