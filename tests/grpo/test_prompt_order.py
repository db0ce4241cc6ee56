"""The order of prompts: TRL's, of every epoch by itself."""

from __future__ import annotations

import pytest
from accelerate import skip_first_batches
from accelerate.data_loader import prepare_data_loader
from torch.utils.data import DataLoader
from trl.trainer.utils import RepeatSampler

from percbal.grpo.order import PromptOrder
from percbal.models.epochs import set_epoch
from percbal.sft.order import LengthGroupedSampler

DATA = list(range(10))


@pytest.mark.parametrize("shuffle", [True, False])
def test_every_epoch_has_the_order_of_trls_uninterrupted_run(shuffle):
    options = {"mini_repeat_count": 2, "batch_size": 3, "repeat_count": 2}
    stock = RepeatSampler(DATA, **options, shuffle=shuffle, seed=7)
    orders = [list(stock) for _ in range(3)]
    assert (orders[0] == orders[1]) is not shuffle
    for epoch in (2, 0, 1, 1):
        ours = PromptOrder.like(RepeatSampler(DATA, **options, shuffle=shuffle, seed=7))
        ours.set_epoch(epoch)
        assert list(ours) == orders[epoch] and len(ours) == len(stock)


ROWS = list(range(40))
SAMPLERS = {
    "prompts": lambda: PromptOrder(ROWS, 1, seed=7),
    "lengths": lambda: LengthGroupedSampler([5] * len(ROWS), 2, seed=7),
}


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
def test_an_epoch_that_is_resumed_in_its_middle_has_its_own_order(sampler, processes):
    def loader():
        plain = DataLoader(ROWS, batch_size=2, sampler=sampler(), collate_fn=list)
        options = {"num_processes": processes, "process_index": 0, "put_on_device": False}
        return prepare_data_loader(plain, **options, use_seedable_sampler=True)

    def rows(loader, epoch):
        set_epoch(loader, epoch)
        loader.set_epoch(epoch)  # as the Trainer does
        return list(loader)

    whole = loader()
    orders = [rows(whole, epoch) for epoch in range(2)]
    assert orders[0] != orders[1]
    resumed = loader()
    set_epoch(resumed, 1)  # before the Trainer skips what the run has seen
    rest = skip_first_batches(resumed, 3)
    rest.set_epoch(1)
    assert list(rest) == orders[1][3:]
