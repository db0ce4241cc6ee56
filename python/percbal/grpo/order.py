"""The order of prompts, the same whenever and wherever it is asked for."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from trl.trainer.utils import RepeatSampler


class PromptOrder(RepeatSampler):
    """TRL's sampler, whose order is here a function of the seed and the epoch alone.

    TRL's draws the order of each epoch from one generator, which a resumed run begins anew: it
    would see the first epoch's prompts in every later one. Here the draws of the epochs before are
    made again, so that every epoch has the order that it has in TRL's uninterrupted run.
    """

    epoch = 0
    seed: int  # always given by the trainer

    @classmethod
    def like(cls, sampler: RepeatSampler) -> PromptOrder:
        """The same prompts in the same groups."""
        names = ("data_source", "mini_repeat_count", "batch_size", "repeat_count", "shuffle")
        return cls(**{name: getattr(sampler, name) for name in names}, seed=sampler.seed)

    def set_epoch(self, epoch: int) -> None:
        """Called before every epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        if self.shuffle:
            self.generator.manual_seed(self.seed)
            for _ in range(self.epoch):
                torch.randperm(self.num_samples, generator=self.generator)
        return super().__iter__()
