"""Inputs of the operator tests: each family of rows is one that broke somebody's kernel."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

IGNORE = -100


@dataclass(frozen=True)
class Case:
    """A family of logits at one shape; `make` is deterministic."""

    family: str
    rows: int
    vocab: int

    def __str__(self) -> str:
        return f"{self.family}-{self.rows}x{self.vocab}"

    def make(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Logits (rows, vocab) of dtype and targets (rows,) int64; every third target ignored."""
        generator = torch.Generator().manual_seed(self.rows * 7919 + self.vocab)
        logits = torch.randn(self.rows, self.vocab, generator=generator, dtype=torch.float64)
        target = torch.randint(0, self.vocab, (self.rows,), generator=generator)
        target[0], target[-1] = 0, self.vocab - 1  # first and last class
        FAMILIES[self.family](logits, target)
        if self.rows > 3:
            target[1::3] = IGNORE
        return logits.to(dtype), target


def _random(logits: Tensor, target: Tensor) -> None:
    logits *= 3


def _peaked(logits: Tensor, target: Tensor) -> None:
    """1 - p_y falls from about 0.1 to about 1e-7 over the rows."""
    if logits.shape[1] == 1:
        return
    others = logits.scatter(1, target[:, None], -math.inf).logsumexp(1)
    one_minus_p = torch.logspace(-1, -7, len(target), dtype=torch.float64)
    logits.scatter_(
        1, target[:, None], (others + torch.log1p(-one_minus_p) - one_minus_p.log())[:, None]
    )


def _wrong(logits: Tensor, target: Tensor) -> None:
    """Confidently wrong: the target far below the other classes."""
    logits.scatter_add_(1, target[:, None], torch.full((len(target), 1), -30.0).double())


def _huge(logits: Tensor, target: Tensor) -> None:
    logits *= 1e4


def _shifted(logits: Tensor, target: Tensor) -> None:
    """exp would overflow without the subtraction of the largest logit."""
    logits += 3e4


def _masked(logits: Tensor, target: Tensor) -> None:
    """Constrained decoding: half of the vocabulary is -inf, in one row all but the target."""
    hidden = torch.arange(logits.shape[1]) % 2 == 0
    keep = logits.gather(1, target[:, None])
    logits[:, hidden] = -math.inf
    logits[-1] = -math.inf
    logits.scatter_(1, target[:, None], keep)


def _equal(logits: Tensor, target: Tensor) -> None:
    logits.fill_(0.5)


def _one_huge(logits: Tensor, target: Tensor) -> None:
    logits[:, logits.shape[1] // 2] = 300.0


FAMILIES = {
    "random": _random,
    "peaked": _peaked,
    "wrong": _wrong,
    "huge": _huge,
    "shifted": _shifted,
    "masked": _masked,
    "equal": _equal,
    "one_huge": _one_huge,
}

# Widths: one class, two, odd, a power of two, one past a vector, larger than a tile and odd.
CASES = [
    Case("random", 4, 1),
    Case("random", 7, 2),
    Case("random", 5, 33),
    Case("random", 3, 4096),
    Case("random", 4, 5001),
    Case("peaked", 8, 33),
    Case("peaked", 8, 4099),
    Case("wrong", 5, 1000),
    Case("huge", 5, 257),
    Case("shifted", 5, 257),
    Case("masked", 5, 130),
    Case("masked", 5, 2500),
    Case("equal", 5, 640),
    Case("one_huge", 5, 2049),
]
