"""What an outcome reward tells a policy about its perception, in batch.

May import: torch, checks. Never: losses, linear, text.
"""

from percbal_ops.coupling.api import (
    CouplingStats,
    GroupAdvantage,
    GroupTable,
    RewardCoupling,
    group_advantage,
    reward_coupling,
)
from percbal_ops.coupling.summary import Correlation

__all__ = [
    "Correlation",
    "CouplingStats",
    "GroupAdvantage",
    "GroupTable",
    "RewardCoupling",
    "group_advantage",
    "reward_coupling",
]
