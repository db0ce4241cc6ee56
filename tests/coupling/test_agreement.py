"""Group agreement: equality with RapidFuzz and with the definition, on ragged and odd input."""

import math

import pytest
import torch
from rapidfuzz.distance import Levenshtein

from percbal_ops.agreement import KINDS, group_agreement, reference

OPS = torch.ops.percbal
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def ragged(rollouts, longest, vocabulary, groups, seed=0):
    g = torch.Generator().manual_seed(seed)
    lengths = torch.randint(longest + 1, (rollouts,), generator=g)
    offsets = torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)])
    tokens = torch.randint(vocabulary, (int(offsets[-1]),), generator=g) * 10**12 - 5
    return tokens, offsets, torch.randint(groups, (rollouts,), generator=g) * -(10**9)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("vocabulary", [1, 3, 50])
@pytest.mark.parametrize(("longest", "groups"), [(0, 3), (5, 9), (40, 2), (150, 4)])
def test_every_kind_equals_its_definition(kind, vocabulary, longest, groups, device):
    tokens, offsets, group = ragged(30, longest, vocabulary, groups)
    order, group_offsets, _ = OPS.group_layout(group)
    truth = reference.group_agreement(
        tokens, offsets, order, group_offsets, KINDS.index(kind), longest
    )
    ours = group_agreement(*(t.to(device) for t in (tokens, offsets, group)), kind=kind)
    torch.testing.assert_close(ours.cpu(), truth, equal_nan=True)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("length", [1, 63, 64, 65, 127, 128, 129, 300])
@pytest.mark.parametrize("changes", [0, 1, 20, 400])
def test_edit_similarity_equals_rapidfuzz_at_word_boundaries(length, changes, device):
    g = torch.Generator().manual_seed(length * 1000 + changes)
    a = torch.randint(4, (length,), generator=g).tolist()
    b = list(a)
    for _ in range(changes):
        at = int(torch.randint(len(b) + 1, (1,), generator=g))
        if int(torch.randint(2, (1,), generator=g)) and b:
            del b[min(at, len(b) - 1)]
        else:
            b.insert(at, int(torch.randint(4, (1,), generator=g)))
    offsets = torch.tensor([0, len(a), len(a) + len(b)], device=device)
    both = torch.zeros(2, dtype=torch.long, device=device)
    ours = group_agreement(torch.tensor(a + b, device=device), offsets, both)
    expected = Levenshtein.normalized_similarity(a, b)
    assert ours.tolist() == pytest.approx([expected, expected], abs=1e-6)


def test_a_rollout_alone_in_its_group_is_not_scored():
    ours = group_agreement(torch.tensor([1, 2]), torch.tensor([0, 1, 2]), torch.tensor([7, 8]))
    assert all(math.isnan(v) for v in ours)


def test_empty_rollouts_agree_and_no_rollouts_are_fine():
    none = torch.zeros(0, dtype=torch.long)
    for kind in KINDS:
        both = group_agreement(
            none, torch.zeros(3, dtype=torch.long), torch.zeros(2).long(), kind=kind
        )
        assert both.tolist() == [1, 1]
        assert group_agreement(none, torch.zeros(1, dtype=torch.long), none, kind=kind).shape == (
            0,
        )


def test_multiset_agreement_counts_repeats():
    tokens, offsets = torch.tensor([1, 1, 2, 1, 3]), torch.tensor([0, 3, 5])
    ours = group_agreement(tokens, offsets, torch.zeros(2, dtype=torch.long), kind="set")
    assert ours.tolist() == pytest.approx([2 / 5, 2 / 5])


def test_the_majority_scores_higher_than_the_odd_one_out():
    tokens = torch.tensor([4, 5, 6] * 3 + [4, 9, 9])
    ours = group_agreement(tokens, torch.arange(5) * 3, torch.zeros(4, dtype=torch.long))
    assert ours.tolist() == pytest.approx([(2 + 1 / 3) / 3] * 3 + [1 / 3])


def test_the_result_does_not_depend_on_the_number_of_threads():
    tokens, offsets, group = ragged(200, 30, 5, 40)
    before = torch.get_num_threads()
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        results.append(group_agreement(tokens, offsets, group))
    torch.set_num_threads(before)
    torch.testing.assert_close(*results, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "cosine"}, "kind must be one of .* got 'cosine'"),
        ({"tokens": torch.zeros(3)}, "tokens must hold integers, got torch.float32"),
        ({"group": torch.zeros(1, 2).long()}, "group must have 1 dim, got 2"),
        ({"offsets": torch.tensor([0, 3])}, "one entry more than group, got 2 and 2"),
        ({"offsets": torch.tensor([0, 2, 4])}, "must rise from 0 to 3"),
        ({"offsets": torch.tensor([0, 4, 3])}, "must rise from 0 to 3"),
    ],
)
def test_bad_input_is_named(change, message):
    good = {
        "tokens": torch.arange(3),
        "offsets": torch.tensor([0, 1, 3]),
        "group": torch.zeros(2, dtype=torch.long),
    }
    with pytest.raises(ValueError, match=message):
        group_agreement(**(good | change))


def test_operator_passes_opcheck():
    tokens, offsets, group = ragged(12, 6, 4, 3)
    order, group_offsets, _ = OPS.group_layout(group)
    torch.library.opcheck(
        OPS.group_agreement.default, (tokens, offsets, order, group_offsets, 0, 6)
    )
