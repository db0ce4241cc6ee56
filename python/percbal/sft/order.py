"""The order of training examples, the same whenever and wherever it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler

WINDOW = 50  # batches that are sorted together: longer windows pad less and shuffle less


class LengthGroupedSampler(Sampler[int]):
    """Every example once an epoch, those of like length in one batch, else at random.

    The order is a function of the seed and the epoch alone, so that a run resumed within an epoch
    sees the batches it would have seen, once it is told which (``models/epochs.py``). The sampler
    of transformers draws from the global state, so that it does not; for multimodal processors it
    measures the images instead of the tokens.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self.lengths, self.window, self.seed = lengths, WINDOW * batch_size, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called before every epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(len(self.lengths), generator=generator).tolist()
        for start in range(0, len(order), self.window):
            part = order[start : start + self.window]
            yield from sorted(part, key=lambda index: -self.lengths[index])
