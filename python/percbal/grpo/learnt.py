"""What a run of GRPO has learnt beside its weights: alpha, and what the balance keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from percbal.objective.alpha import CouplingAlpha, FixedAlpha
from percbal.objective.balance import Balance

BALANCE = "balance"  # beside alpha's own names in one state


@dataclass
class Learnt:
    """Both controllers as one, whose state a checkpoint keeps in one file."""

    alpha: FixedAlpha | CouplingAlpha
    balance: Balance

    def state_dict(self) -> dict[str, Any]:
        """Ready for JSON: alpha's own names, and the balance's state under one more."""
        return self.alpha.state_dict() | {BALANCE: self.balance.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what ``state_dict`` gave. ValueError for the state of an older version, which
        lacks the balance's, if the balance has any."""
        of_alpha = {name: value for name, value in state.items() if name != BALANCE}
        if BALANCE not in state and self.balance.state_dict():
            rule = type(self.balance).__name__
            raise ValueError(
                f"the checkpoint of an older version holds no state of the balance {rule}"
            )
        self.alpha.load_state_dict(of_alpha)
        if BALANCE in state:
            self.balance.load_state_dict(state[BALANCE])
