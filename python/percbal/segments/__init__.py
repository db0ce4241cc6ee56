"""Which token belongs to which segment: of text that is tokenised, of ids that were sampled.

May import: percbal_ops, numpy, torch. Never: trainers, tasks, rewards.
"""

from percbal.segments.tagged import N_SEGMENTS, PERCEPTION, REASONING, Tags

__all__ = ["N_SEGMENTS", "PERCEPTION", "REASONING", "Tags"]
