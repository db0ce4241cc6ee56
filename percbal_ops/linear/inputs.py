"""What the operators from hidden states take, as objects and as text in their schemas.

A caller gives an operator `*inputs`, `*options`, `*needs`; linear/library.py packs them again.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

INPUTS = "Tensor hidden, Tensor head, Tensor? bias, Tensor target"
NEEDS = "bool need_hidden, bool need_head, bool need_bias"
LOGPROB_OPTIONS = "int ignore_index, float temperature, float softcap"


class LinearInputs(NamedTuple):
    hidden: Tensor  # x (N, D)
    head: Tensor  # W (V, D)
    bias: Tensor | None  # b (V,)
    target: Tensor  # y (N,)


class Needs(NamedTuple):
    """Which gradients are wanted."""

    hidden: bool
    head: bool
    bias: bool


class LogprobOptions(NamedTuple):
    ignore_index: int
    temperature: float
    softcap: float  # c; 0: none
