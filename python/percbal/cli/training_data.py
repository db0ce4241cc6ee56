"""The data of ``percbal sft`` and ``percbal grpo``: read, and where asked for, tried row by row."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import ProcessorMixin, Trainer

    from percbal.cli.training import TrainArguments
    from percbal.sft.check import Encode


class TrainingData:
    """A data set by the options of a command.

    Reading raises for the first row that cannot be used. In a dry run, and to skip such rows, they
    are counted instead, and `try_rows` finds those that only their encoding refuses.
    """

    def __init__(
        self, script: TrainArguments, source: str, split: str, *, completions: bool
    ) -> None:
        from percbal.data.check import Check, TriedRow  # not for --help
        from percbal.data.reading import collect_bad, read_rows

        self.name = source
        self.counts = script.dry_run or script.on_bad_row == "skip"
        self.check = Check()
        bad = collect_bad("skip" if script.dry_run else script.on_bad_row)
        self.rows: Dataset = read_rows(
            source,
            split,
            bad,
            completions=completions,
            images_within=script.images_within,
            max_image_pixels=script.max_image_pixels,
        )
        for place, problem in bad.found:
            self.check.add(TriedRow(place, problem))

    def try_rows(
        self, encode: Encode, processor: ProcessorMixin, max_length: int | None = None
    ) -> Dataset:
        """The rows that can be used.

        ValueError where there is none.
        """
        from percbal.sft.check import tried_rows

        if not self.counts:
            return self.rows
        self.check.max_length = max_length
        good = []
        options: dict[str, Any] = {"max_length": max_length, "progress": _is_first_process()}
        for i, row in enumerate(tried_rows(self.rows, encode, processor, **options)):
            self.check.add(row)
            good += [i] if row.problem is None else []
        if not good:
            place, why = self.check.failures[0]
            raise ValueError(f"no row of {self.name} can be used: {place}: {why}")
        if self.check.failed and _is_first_process():
            print(f"{self.check.failed} of {self.check.rows} rows are left out:", file=sys.stderr)
            print("\n".join(self.check.failure_lines()), file=sys.stderr)
        return self.rows if len(good) == len(self.rows) else self.rows.select(good)


def end_dry_run(trainer: Trainer, data: Sequence[TrainingData]) -> None:
    """Say what would be trained. ValueError if a row cannot be used."""
    model: Any = trainer.model
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    batches = len(trainer.get_train_dataloader())
    if trainer.is_world_process_zero():
        for part in data:
            print("\n".join([part.name, *part.check.summary()]))
        print(
            f"{type(model).__name__} with {model.num_parameters()} parameters, {trained} of them "
            f"trained; {batches} batches of {trainer.args.per_device_train_batch_size} an epoch "
            f"and process; to {trainer.args.output_dir}"
        )
    failed = sum(part.check.failed for part in data)
    if failed:
        raise ValueError(f"{failed} of {sum(p.check.rows for p in data)} rows cannot be used")


def _is_first_process() -> bool:
    return os.environ.get("RANK", "0") == "0"
