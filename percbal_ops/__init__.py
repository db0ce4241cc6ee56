"""Operators that see segments of tokens: weighted losses, gradient norms, reward coupling."""

from percbal_ops.backend import implementation, use_cuda_backend
from percbal_ops.functional import SegmentOutput, cross_entropy, segment_cross_entropy

__all__ = [
    "SegmentOutput",
    "cross_entropy",
    "implementation",
    "segment_cross_entropy",
    "use_cuda_backend",
]
