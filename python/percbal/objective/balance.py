"""How much each segment's mean loss weighs: what a controller of the balance is.

The loss is ``sum_s w_s L_s``, each ``L_s`` the mean over the tokens of segment ``s`` in the whole
accumulated batch; of two segments ``lambda * L_p + (1 - lambda) * L_r``. A controller turns token
counts, and what it has seen of the steps, into the weights. All of it stays in tensors: nothing
here waits for a device.

An empty segment contributes nothing to the loss, and the others keep the weights that they have
anyway: a batch without perception says nothing about perception, and is no reason to push harder
on reasoning. (Token-mean has no such case: its weights are the token shares.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

LAM = 0.5  # the default of the option


class Seen(NamedTuple):
    """What an optimizer step showed, over all its micro-batches and ranks; (S,) each."""

    step: int  # optimizer steps before it
    counts: Tensor  # int64, trained tokens
    losses: Tensor  # mean loss of each segment
    stand_in: Tensor  # norms that cost nothing, of logits or head, (M16); 0 for an empty segment
    gradient: Tensor | None = None  # norms over all parameters, in the steps that `due` asked for
    level: str = "logits"  # what `stand_in` is of: "logits" or "head"
    pairs: Tensor | None = None  # (2, S) of the step's parts, (M17), where `compares_parts`


class Balance:
    """A controller. Its own class overrides ``weights`` and, if it learns from steps, ``observe``.

    needs_gradient_norms: whether some steps take the gradient of every segment alone.
    observes: whether ``observe`` is to be called. Without it a controller knows counts alone, and
        serves GRPO, too.
    stand_in: which norms it takes for those over all parameters: "any", "head" for the gradient of
        the output head alone, or None.
    compares_parts: whether the steps with gradient norms also compare those of the step's parts, of
        which there must be at least two: micro-batches of each rank, under FSDP2 of all together.
    """

    needs_gradient_norms = False
    compares_parts = False
    observes = False
    stand_in: str | None = None

    @classmethod
    def from_options(cls, options: Any) -> Balance:
        """The controller that a configuration describes. ValueError for weights in `segments`,
        or a `lam`, which a controller that chooses all weights would not heed."""
        why = f"{cls.__name__} chooses all weights itself"
        options.make_segments().refuse_weights(why)
        refuse_lam(options, why)
        return cls()

    def weights(self, counts: Tensor) -> Tensor:
        """Weights (S,) float32 for token counts (S,) of the whole accumulated batch. Asked for
        several times in a step, and in evaluation: a call is no step."""
        raise NotImplementedError

    def due(self, counts: Tensor) -> bool:
        """Whether the step that begins, with token counts (S,) of its whole accumulated batch over
        all ranks, is to take the gradient of every segment alone. Asked once in a step, only where
        ``needs_gradient_norms``; all ranks must say the same."""
        del counts
        return self.needs_gradient_norms

    def observe(self, seen: Seen) -> None:
        """Take in a step. Weights asked for afterwards are those of this step where they can be:
        with ``seen.gradient``, and of a step with one micro-batch; else those of the next step."""

    def unknown(self) -> list[int]:
        """Segments of which no step has shown what the rule needs. The host waits for it."""
        return []

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must keep, ready for JSON."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what ``state_dict`` gave."""
        del state


class TokenMean(Balance):
    """Plain fine-tuning: every token weighs the same."""

    @classmethod
    def from_options(cls, options: Any) -> TokenMean:
        why = "balance token_mean weighs every token alike"
        options.make_segments().refuse_weights(why)
        refuse_lam(options, why)
        return cls()

    def weights(self, counts: Tensor) -> Tensor:
        return token_mean_weights(counts)


class Fixed(Balance):
    """Constant weights.

    lam: perception's of two segments, or those of all segments.
    """

    def __init__(self, lam: float | Sequence[float]) -> None:
        for weight in [lam] if isinstance(lam, int | float) else lam:
            check_unit("lam", weight)
        if not isinstance(lam, int | float) and not math.isclose(sum(lam), 1.0, abs_tol=1e-6):
            raise ValueError(f"the weights must add up to 1, got {list(lam)}")
        self.lam = lam

    @classmethod
    def from_options(cls, options: Any) -> Fixed:
        if options.segments is None:
            return cls(options.lam)
        weights = options.make_segments().fixed_weights()
        refuse_lam(options, "segments gives the weights")
        return cls(weights)

    def weights(self, counts: Tensor) -> Tensor:
        if isinstance(self.lam, int | float):
            return lambda_weights(self.lam, counts.device)
        each = [counts.new_full((), lam, dtype=torch.float32) for lam in self.lam]
        return torch.stack(each)  # written on the device: a copy to it would be waited for


def token_mean_weights(counts: Tensor) -> Tensor:
    """Token shares, for which the loss is the plain mean over all tokens.

    counts: (S,). Returns (S,) float32: ``counts / counts.sum()``, zeros if there is no token.
    """
    counts = counts.float()
    return counts / counts.sum().clamp(min=1.0)


def lambda_weights(lam: Tensor | float, device: torch.device) -> Tensor:
    """``[lambda, 1 - lambda]``, (2,) float32."""
    if not isinstance(lam, Tensor):  # a copy to the device would be waited for
        lam = torch.full((), lam, dtype=torch.float32, device=device)
    lam = lam.to(device, torch.float32)
    return torch.stack((lam, 1 - lam))


def refuse_lam(options: Any, why: str) -> None:
    """ValueError where ``lam`` was chosen, by somebody who would wait for its effect."""
    if options.lam != LAM:
        raise ValueError(f"lam={options.lam:g} would change nothing: {why}")


def check_unit(name: str, value: float) -> None:
    """ValueError for a weight outside [0, 1]."""
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} must be in [0, 1], got {value}")
