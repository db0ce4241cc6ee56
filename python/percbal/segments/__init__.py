"""Which token belongs to which segment: of text that is tokenised, of ids that were sampled.

May import: responses, numpy, tokenizers. Never: trainers, tasks, rewards.
"""

from percbal.segments.tagged import (
    N_SEGMENTS,
    OTHER,
    PERCEPTION,
    REASONING,
    SEGMENT_NAMES,
    SEGMENT_OF_TYPE,
    SegmentError,
    Tags,
    spans_from_characters,
    spans_from_format,
    spans_from_segments,
    spans_from_tags,
    token_segments,
)

__all__ = [
    "N_SEGMENTS",
    "OTHER",
    "PERCEPTION",
    "REASONING",
    "SEGMENT_NAMES",
    "SEGMENT_OF_TYPE",
    "SegmentError",
    "Tags",
    "spans_from_characters",
    "spans_from_format",
    "spans_from_segments",
    "spans_from_tags",
    "token_segments",
]
