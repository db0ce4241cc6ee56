"""Which of a trainer's reward functions is the outcome, which perception, and which only measured.

A trainer has a list of reward functions; its options name them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

SURROGATES = ("group_agreement", "blind_reanswer", "masked_image_kl")  # percbal's, without labels


class Columns(NamedTuple):
    """Rewards (R,) by role; None where no function has it."""

    outcome: Tensor
    perception: Tensor | None
    true_perception: Tensor | None
    true_reasoning: Tensor | None


class RewardRoles:
    """Reads the gathered rewards (R, F) by role.

    Functions without a role (a format reward, say) are added to the outcome with TRL's
    ``reward_weights``, 1 by default; measured ones, and those of weight 0, are not.
    surrogates: names of functions that need no label, beside percbal's own.
    Raises ValueError for a name that no function has, or that two have.
    """

    def __init__(
        self,
        names: Sequence[str],
        roles: dict[str, Any],
        measured: Sequence[str],
        weights: Sequence[float],
        alpha: float,
        surrogates: Sequence[str] = (),
    ) -> None:
        self.names = list(names)
        self.surrogates = {*SURROGATES, *surrogates}
        twice = [name for name in self.names if self.names.count(name) > 1]
        if twice:
            raise ValueError(f"two reward functions are called {twice[0]!r}; give one another name")
        self.roles = dict(roles)
        if roles["perception_reward"] not in names and alpha == 0:
            self.roles["perception_reward"] = None  # not needed
        named = {"measured": measured, "surrogates": surrogates}
        further = [(option, name) for option, listed in named.items() for name in listed]
        for role, name in [*self.roles.items(), *further]:
            if name is not None and name not in names:
                raise ValueError(
                    f"{role} names the reward function {name!r}, but there are only "
                    f"{', '.join(names)}"
                )
        signal = self.roles["perception_reward"]
        if self.roles["true_perception"] is None and signal not in self.surrogates:
            self.roles["true_perception"] = signal
        only_measured = {*measured, self.roles["true_perception"], self.roles["true_reasoning"]}
        only_measured -= {self.roles["outcome_reward"], signal}
        self.extra = [
            n
            for n in names
            if n not in only_measured and n not in (self.roles["outcome_reward"], signal)
        ]
        self._weights = dict(zip(names, weights, strict=True))

    def followed(self) -> list[str]:
        """Rewards whose coupling with the truth is worth a look, the outcome first."""
        roles = ("outcome_reward", "perception_reward", "true_perception")
        outcome, signal, truth = (self.roles[role] for role in roles)
        names = [outcome, *(n for n in self.names if n in self.surrogates or n == signal)]
        return [name for name in dict.fromkeys(names) if name != truth]

    def is_truth_alone(self) -> bool:
        """Whether the run rewards the outcome and true perception, unweighted, and nothing else."""
        signal = self.roles["perception_reward"]
        if signal is None or signal != self.roles["true_perception"] or self.extra:
            return False
        return self._weights[signal] == self._weights[self.roles["outcome_reward"]]

    def weights(self, alpha: float) -> Tensor:
        """(F,) of the mixed reward: what TRL logs as ``reward``."""
        signal = self.roles["perception_reward"]
        beside = 1.0 if signal is None else 1 - alpha
        values = dict.fromkeys(self.names, 0.0)
        for name in (self.roles["outcome_reward"], *self.extra):
            values[name] = beside * self._weights[name]
        if signal is not None:
            values[signal] = alpha * self._weights[signal]
        return torch.tensor([values[name] for name in self.names])

    def split(self, rewards: Tensor) -> Columns:
        """The columns of (R, F) by role; the outcome with the weighted extras."""
        outcome = self.column(rewards, "outcome_reward")
        assert outcome is not None
        for name in self.extra:
            if self._weights[name] != 0:
                outcome = outcome + self._weighted(rewards, name)
        return Columns(
            outcome,
            self.column(rewards, "perception_reward"),
            self.column(rewards, "true_perception"),
            self.column(rewards, "true_reasoning"),
        )

    def column(self, rewards: Tensor, role: str) -> Tensor | None:
        """(R,) of one role alone, weighted by TRL's ``reward_weights`` if it is rewarded."""
        name = self.roles[role]
        if name is None:
            return None
        rewarded = role in ("outcome_reward", "perception_reward")
        return self._weighted(rewards, name) if rewarded else rewards[:, self.names.index(name)]

    def _weighted(self, rewards: Tensor, name: str) -> Tensor:
        """(R,) of one function, times its weight; NaN where it gave no score, if it has weight."""
        column, weight = rewards[:, self.names.index(name)], self._weights[name]
        if weight == 0:
            return torch.zeros_like(column)  # 0 * NaN would be NaN
        return column if weight == 1 else column * weight
