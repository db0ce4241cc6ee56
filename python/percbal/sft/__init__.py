"""Balanced fine-tuning on TRL: the trainer, its options, what it refuses, what it is fed.

May import: TRL, models, objective, responses, segments, percbal_ops. Never: tasks, grpo,
evaluate, study.
"""

from typing import Any

import percbal

__all__ = ["BalancedSFTConfig", "BalancedSFTTrainer"]


def __getattr__(name: str) -> Any:  # when asked for: options need no trainer
    if name in __all__:
        return getattr(percbal, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
