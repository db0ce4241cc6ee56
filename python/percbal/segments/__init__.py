"""Which token belongs to which segment: of text that is tokenised, of ids that were sampled.

May import: responses, numpy, tokenizers. Never: trainers, tasks, rewards.
"""

from percbal.segments.names import OTHER, PERCEPTION, REASONING, TWO, Segments
from percbal.segments.tagged import (
    SegmentError,
    Tags,
    spans_from_characters,
    spans_from_format,
    spans_from_segments,
    spans_from_tags,
    token_segments,
)

__all__ = [
    "OTHER",
    "PERCEPTION",
    "REASONING",
    "TWO",
    "SegmentError",
    "Segments",
    "Tags",
    "spans_from_characters",
    "spans_from_format",
    "spans_from_segments",
    "spans_from_tags",
    "token_segments",
]
