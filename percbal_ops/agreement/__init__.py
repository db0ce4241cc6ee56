"""How much the rollouts of a group say the same, without any label.

May import: torch, coupling. Never: losses, linear, text.
"""

from percbal_ops.agreement.api import KINDS, group_agreement

__all__ = ["KINDS", "group_agreement"]
