"""How much the rollouts of a group say the same, without any label.

May import: torch, checks, coupling, text. Never: losses, linear.
"""

from percbal_ops.agreement.api import KINDS, group_agreement

__all__ = ["KINDS", "group_agreement"]
