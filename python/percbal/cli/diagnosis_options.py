"""Options of ``percbal sft`` and ``percbal grpo`` for the diagnosis while they train."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from transformers import ProcessorMixin

    from percbal.evaluate.callback import DiagnosisCallback


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
    diagnose_task: str = field(default="sudoku", metadata={"help": "The task, a diagnostic one."})
    diagnose_option: list[str] = field(
        default_factory=list,
        metadata={"help": "Options of the task, NAME=VALUE each, the value as JSON: size=9."},
    )
    diagnose_n: int = field(default=64, metadata={"help": "Instances, of the task's test split."})
    diagnose_batch_size: int = field(default=32, metadata={"help": "Of them at once."})

    def diagnosis(self, processor: ProcessorMixin | None) -> DiagnosisCallback | None:
        """The callback, or None without one. Raises ValueError for options that mean nothing."""
        if self.diagnose_every is None:
            return None
        from percbal.cli.task_options import make_task  # not for --help
        from percbal.evaluate.callback import DiagnosisCallback

        return DiagnosisCallback(
            make_task(self.diagnose_task, self.diagnose_option, "diagnose_option"),
            processor,  # type: ignore[arg-type]
            every=self.diagnose_every,
            n=self.diagnose_n,
            batch_size=self.diagnose_batch_size,
        )

    def __post_init__(self) -> None:
        self.diagnosis(None)  # so that a mistake is found before a model is loaded
