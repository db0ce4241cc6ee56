"""The tiny checkpoints are what they stand for."""

from __future__ import annotations

import pytest
import torch
import zoo

from percbal.models.loading import load_vlm

FAST = [name for name in zoo.WORKING if zoo.FAMILIES[name].fast]


def test_pictures_differ_and_share_one_prompt():
    rows = zoo.task_rows(8)
    assert len({row["perception"] for row in rows}) == 8
    assert {row["prompt"][0]["content"] for row in rows} == {zoo.QUERY}
    assert all(row["perception"] in row["completion"][0]["content"] for row in rows)


@pytest.mark.parametrize("name", FAST)
def test_a_family_is_written_the_same_twice(name, tmp_path):
    first, second = (load_vlm(zoo.FAMILIES[name].build(tmp_path / n))[0] for n in "ab")
    state = second.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in first.state_dict().items())
