"""Balanced fine-tuning on TRL: the trainer, its options, what it refuses, what it is fed.

May import: TRL, models, objective, responses, segments, percbal_ops. Never: tasks, grpo,
evaluate, study.
"""

from percbal.sft.config import BalancedSFTConfig
from percbal.sft.trainer import BalancedSFTTrainer

__all__ = ["BalancedSFTConfig", "BalancedSFTTrainer"]
