"""How much each segment's mean loss weighs: the controllers of the balance.

The loss is ``lambda * L_p + (1 - lambda) * L_r``, each ``L`` the mean over its own tokens of the
whole accumulated batch. A controller turns token counts, and for NGDiff gradient norms, into the
two weights. All of it stays in tensors: nothing here waits for a device.

An empty segment contributes nothing to the loss, and the other one keeps the weight that it has
anyway: a batch without perception says nothing about perception, and is no reason to push harder
on reasoning. (Token-mean has no such case: its weights are the token shares.) NGDiff does not
move its lambda on such a batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor


def token_mean_weights(counts: Tensor) -> Tensor:
    """Token shares, for which the loss is the plain mean over all tokens.

    counts: (S,). Returns (S,) float32: ``counts / counts.sum()``, zeros if there is no token.
    """
    counts = counts.float()
    return counts / counts.sum().clamp(min=1.0)


def lambda_weights(lam: Tensor | float, device: torch.device) -> Tensor:
    """``[lambda, 1 - lambda]``, (2,) float32."""
    lam = torch.as_tensor(lam, dtype=torch.float32, device=device)
    return torch.stack((lam, 1 - lam))


def ngdiff_log_odds(norms: Tensor) -> Tensor:
    """Log-odds of NGDiff's lambda, ``n_r / (n_p + n_r)``: with it ``lambda * g_p`` and
    ``(1 - lambda) * g_r`` have the same norm.

    norms: (2,), the gradient norms n_p and n_r. Returns () ``log(n_r) - log(n_p)``, not finite
    where a norm is zero or not finite. Bu et al., arXiv:2410.22086.
    """
    log_norms = norms.float().log()
    return log_norms[1] - log_norms[0]


class Balance(Protocol):
    """What the trainer asks of a controller."""

    needs_gradient_norms: bool

    def weights(self, counts: Tensor) -> Tensor:
        """Weights (S,) float32 for token counts (S,) of the whole accumulated batch."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must keep, ready for JSON."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class TokenMean:
    """Plain fine-tuning: every token weighs the same."""

    needs_gradient_norms = False

    def weights(self, counts: Tensor) -> Tensor:
        return token_mean_weights(counts)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        del state  # nothing to restore


class Fixed:
    """Constant weights: lambda for two segments, or one weight for each of any number."""

    needs_gradient_norms = False

    def __init__(self, lam: float | Sequence[float]) -> None:
        if isinstance(lam, float | int):
            _check_unit("lam", lam)
        self.lam = lam

    def weights(self, counts: Tensor) -> Tensor:
        if isinstance(self.lam, float | int):
            return lambda_weights(self.lam, counts.device)
        return torch.tensor(self.lam, dtype=torch.float32, device=counts.device)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        del state  # the weights are the configuration's


class NGDiff:
    """A lambda that gives both segments' gradients the same norm, step by step.

    decay: of an exponential mean of lambda's log-odds over steps; 0 uses each step's own norms.
    lam_min, lam_max: bounds of the lambda in use.
    lam: in use until the first batch that has both segments.
    """

    needs_gradient_norms = True

    def __init__(
        self, *, lam: float = 0.5, decay: float = 0.0, lam_min: float = 0.0, lam_max: float = 1.0
    ) -> None:
        _check_unit("lam", lam)
        if not 0.0 <= decay < 1.0:
            raise ValueError(f"ngdiff_decay must be in [0, 1), got {decay}")
        if not 0.0 <= lam_min <= lam_max <= 1.0:
            raise ValueError(
                f"ngdiff bounds must satisfy 0 <= min <= max <= 1, got {lam_min} and {lam_max}"
            )
        self.decay, self.lam_min, self.lam_max = decay, lam_min, lam_max
        self._start = torch.logit(torch.tensor(lam), eps=1e-6)
        self._log_odds = torch.tensor(float("nan"))  # nan: nothing seen yet

    def update(self, norms: Tensor) -> None:
        """Take in a step's gradient norms (2,), those of the whole accumulated batch."""
        new = ngdiff_log_odds(norms)
        old = self._log_odds.to(new.device)
        mean = torch.where(old.isnan(), new, self.decay * old + (1 - self.decay) * new)
        self._log_odds = torch.where(new.isfinite(), mean, old)

    def weights(self, counts: Tensor) -> Tensor:
        log_odds = torch.where(
            self._log_odds.isnan(), self._start.to(self._log_odds), self._log_odds
        )
        lam = torch.sigmoid(log_odds).clamp(self.lam_min, self.lam_max)
        return lambda_weights(lam, counts.device)

    def state_dict(self) -> dict[str, Any]:
        value = float(self._log_odds)
        return {"log_odds": None if math.isnan(value) else value}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if "log_odds" not in state:
            raise ValueError("the checkpoint was not trained with ngdiff: it holds no lambda of it")
        value = state["log_odds"]
        self._log_odds = torch.tensor(float("nan") if value is None else value)


def _check_unit(name: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} must be in [0, 1], got {value}")
