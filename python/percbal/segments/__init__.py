"""Which token belongs to which segment: of text that is tokenised, of ids that were sampled.

May import: responses, numpy, tokenizers. Never: trainers, tasks, rewards.
"""

from percbal.responses.spans import Tags
from percbal.segments.tagged import N_SEGMENTS, PERCEPTION, REASONING

__all__ = ["N_SEGMENTS", "PERCEPTION", "REASONING", "Tags"]
