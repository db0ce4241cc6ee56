"""Options of ``percbal sft`` and ``percbal grpo`` for the diagnosis while they train."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from transformers import ProcessorMixin

    from percbal.evaluate.callback import DiagnosisCallback

DEFAULT_TASK = "sudoku"
OF_PICTURES = ("images_within", "max_image_pixels")  # options of the training data


@dataclass(kw_only=True)
class DiagnosisArguments:
    """What is measured while a model trains, and how often."""

    HELP_GROUP: ClassVar[str] = "diagnosis"

    diagnose_every: int | None = field(
        default=None,
        metadata={
            "help": "Measure and log a, a_p and a_r every so many steps, and at the end "
            "(docs/diagnose.md). None: never."
        },
    )
    diagnose_task: str = field(
        default=DEFAULT_TASK, metadata={"help": "The task, a diagnostic one."}
    )
    diagnose_option: list[str] = field(
        default_factory=list,
        metadata={"help": "Options of the task, NAME=VALUE each, the value as JSON: size=9."},
    )
    diagnose_dataset: str | None = field(
        default=None,
        metadata={
            "help": "Instead of a task: a data set with a true perception and an answer in every "
            "row; images_within and max_image_pixels are those of the training data."
        },
    )
    diagnose_split: str = field(
        default="test", metadata={"help": "Split of the task, or of a data set with several."}
    )
    diagnose_n: int = field(default=64, metadata={"help": "Instances, always the same."})
    diagnose_batch_size: int = field(default=32, metadata={"help": "Of them at once."})

    def diagnosis(self, processor: ProcessorMixin | None) -> DiagnosisCallback | None:
        """The callback, or None without one. Raises ValueError for options that mean nothing."""
        if self.diagnose_every is None:
            return None
        from percbal.evaluate.callback import DiagnosisCallback  # not for --help

        return DiagnosisCallback(
            self._source,
            processor,  # type: ignore[arg-type]
            every=self.diagnose_every,
            n=self.diagnose_n,
            split=self.diagnose_split,
            batch_size=self.diagnose_batch_size,
        )

    @cached_property
    def _source(self) -> Any:
        """The task or the data set."""
        from percbal.cli.tried_task import tried_task  # not for --help
        from percbal.data.reading import read_dataset

        if self.diagnose_dataset is None:
            options = self.diagnose_task, self.diagnose_option, "diagnose_option"
            return tried_task(*options, self.diagnose_split, judges=True)
        if self.diagnose_option:
            raise ValueError("diagnose_option sets a task; with diagnose_dataset there is none")
        if self.diagnose_task != DEFAULT_TASK:
            raise ValueError(
                f"diagnose_task {self.diagnose_task} names a task; with diagnose_dataset there is "
                "none"
            )
        rules = {name: getattr(self, name) for name in OF_PICTURES if hasattr(self, name)}
        return read_dataset(self.diagnose_dataset, self.diagnose_split, completions=None, **rules)

    def __post_init__(self) -> None:
        self.diagnosis(None)  # so that a mistake is found before a model is loaded
