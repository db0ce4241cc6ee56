"""Cross-entropy where each rank of a process group holds some columns of the logits.

May import: torch.distributed, checks, losses. Never: linear, coupling, text.
"""

from percbal_ops.vocab_parallel.api import (
    vocab_parallel_cross_entropy,
    vocab_parallel_segment_cross_entropy,
)

__all__ = ["vocab_parallel_cross_entropy", "vocab_parallel_segment_cross_entropy"]
