"""The order of training examples."""

from __future__ import annotations

import random

from percbal.sft.order import LengthGroupedSampler


def test_every_example_once_in_batches_of_like_lengths():
    chance = random.Random(0)
    lengths = [chance.randrange(100, 300) for _ in range(1000)]
    sampler = LengthGroupedSampler(lengths, batch_size=10, seed=3)
    order = list(sampler)
    assert sorted(order) == list(range(1000)) and len(sampler) == 1000

    def padding(indices):
        batches = [indices[i : i + 10] for i in range(0, 1000, 10)]
        padded = sum(len(b) * max(lengths[i] for i in b) for b in batches)
        return 1 - sum(lengths) / padded

    assert padding(order) < 0.02 < 0.2 < padding(list(range(1000)))


def test_the_order_depends_on_seed_and_epoch_alone():
    lengths = list(range(200))
    one, other = (LengthGroupedSampler(lengths, 2, seed=5) for _ in range(2))
    first = list(one)
    one.set_epoch(1)
    assert list(one) != first
    one.set_epoch(0)
    assert list(one) == first == list(other)
    assert list(LengthGroupedSampler(lengths, 2, seed=6)) != first
