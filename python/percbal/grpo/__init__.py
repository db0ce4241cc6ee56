"""Perception-aware GRPO on TRL: the trainer, its options, and what guards its rewards.

May import: TRL, models, objective, responses, segments, rewards, percbal_ops. Never: tasks, sft,
study.
"""

from percbal.grpo.config import BalancedGRPOConfig
from percbal.grpo.trainer import BalancedGRPOTrainer

__all__ = ["BalancedGRPOConfig", "BalancedGRPOTrainer"]
