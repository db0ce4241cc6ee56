"""Reward functions for TRL's GRPO, by dotted path: ``reward_funcs: [percbal.rewards.outcome]``.

docs/rewards.md says what each needs, pays for and refuses.
May import: responses, percbal_ops, torch. Never: tasks, transformers, TRL, trainers.
"""

from percbal.rewards.agreement import group_agreement
from percbal.rewards.blind import blind_messages, blind_reanswer
from percbal.rewards.by_task import TaskRewards, from_task
from percbal.rewards.endpoint import EndpointReanswer
from percbal.rewards.flipped import flipped
from percbal.rewards.image_kl import masked_image_kl, masked_kl
from percbal.rewards.labelled import format, outcome, perception, perception_f1

__all__ = [
    "EndpointReanswer",
    "TaskRewards",
    "blind_messages",
    "blind_reanswer",
    "flipped",
    "format",
    "from_task",
    "group_agreement",
    "masked_image_kl",
    "masked_kl",
    "outcome",
    "perception",
    "perception_f1",
]
