"""Keywords of before still work, and warn."""

import pytest
import torch

from percbal_ops import linear_segment_cross_entropy, linear_token_logprob, segment_cross_entropy

HIDDEN, HEAD, TARGET = torch.randn(4, 3), torch.randn(7, 3), torch.tensor([0, 1, 2, 3])
SEGMENTS = (torch.tensor([0, 0, 1, 1]), torch.tensor([0.5, 0.5]))


def test_the_head_was_called_weight() -> None:
    with pytest.warns(DeprecationWarning, match="linear_token_logprob.*weight is now head"):
        old = linear_token_logprob(HIDDEN, target=TARGET, weight=HEAD)
    torch.testing.assert_close(old, linear_token_logprob(HIDDEN, HEAD, TARGET))
    with pytest.warns(DeprecationWarning, match="weight is now head"):
        old = linear_segment_cross_entropy(
            HIDDEN,
            weight=HEAD,
            target=TARGET,
            segment_ids=SEGMENTS[0],
            segment_weights=SEGMENTS[1],
        )
    torch.testing.assert_close(old, linear_segment_cross_entropy(HIDDEN, HEAD, TARGET, *SEGMENTS))


def test_class_weights_were_called_weight() -> None:
    logits, weight = HIDDEN @ HEAD.t(), torch.rand(7)
    with pytest.warns(DeprecationWarning, match="weight is now class_weight"):
        old = segment_cross_entropy(logits, TARGET, *SEGMENTS, weight=weight)
    new = segment_cross_entropy(logits, TARGET, *SEGMENTS, class_weight=weight)
    torch.testing.assert_close(old, new)
    with pytest.raises(TypeError, match="got class_weight and weight"):
        segment_cross_entropy(logits, TARGET, *SEGMENTS, weight=weight, class_weight=weight)


def test_a_compiled_graph_takes_the_new_keyword() -> None:
    logits, weight = HIDDEN @ HEAD.t(), torch.rand(7)
    run = torch.compile(segment_cross_entropy, fullgraph=True, backend="eager")
    expected = segment_cross_entropy(logits, TARGET, *SEGMENTS, class_weight=weight)
    found = run(logits, TARGET, *SEGMENTS, class_weight=weight)
    torch.testing.assert_close(found, expected)
