"""Perception-aware GRPO on TRL: the trainer, its options, and what guards its rewards.

May import: TRL, models, objective, responses, segments, rewards, percbal_ops. Never: tasks, sft,
study.
"""

from typing import Any

import percbal

__all__ = ["BalancedGRPOConfig", "BalancedGRPOTrainer"]


def __getattr__(name: str) -> Any:  # when asked for: options need no trainer
    if name in __all__:
        return getattr(percbal, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
