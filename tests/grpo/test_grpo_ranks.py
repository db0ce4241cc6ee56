"""Facts about GRPO on two processes: groups are those of the whole batch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rl_fixtures as rl
import torch
import vlm_fixtures as vlm
from two_processes import two_processes

from percbal.models.loading import load_vlm
from percbal.objective.credit import (
    Advantages,
    assign_credit,
    perception_keys,
    segment_scale,
    token_advantages,
)


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    directory = tmp_path_factory.mktemp("ranks")
    rl.tiny_policy(directory / "model")
    two_processes(Path(__file__).with_name("grpo_worker.py"), directory)
    return directory


def test_advantages_are_those_of_one_process(two_ranks):
    ranks = [torch.load(two_ranks / f"rank{i}.pt", weights_only=False) for i in range(2)]
    assert torch.equal(ranks[0]["rewards"], ranks[1]["rewards"]), "every rank has all rewards"
    perceived = [text for rank in ranks for text in rank["perception"]]
    keys = perception_keys(perceived)
    a, p = ranks[0]["rewards"].unbind(1)
    whole = assign_credit("same_perception", a, p, torch.tensor(keys), alpha=0.4, group_size=4)
    lengths = [len(ids) for rank in ranks for ids in rank["segments"]]
    ids = torch.full((8, max(lengths)), 1)
    for row, segments in enumerate(s for rank in ranks for s in rank["segments"]):
        ids[row, : len(segments)] = torch.as_tensor(np.asarray(segments))
    valid = torch.arange(ids.shape[1]) < torch.tensor(lengths)[:, None]
    counts = torch.stack([(valid & (ids == s)).sum() for s in (0, 1)])
    expected = token_advantages(
        Advantages(*whole), ids, segment_scale(torch.tensor([0.5, 0.5]), counts)
    )
    for i, rank in enumerate(ranks):
        mask = rank["mask"].bool()
        ours = rank["advantages"][mask]
        theirs = expected[4 * i : 4 * i + 4, : mask.shape[1]][mask]
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def test_ranks_end_with_the_same_weights(two_ranks):
    first, second = (torch.load(two_ranks / f"weights{i}.pt") for i in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    log = json.loads((two_ranks / "ddp.json").read_text())
    assert sum("coupling/silent_groups" in entry for entry in log) == 3


def test_sharded_training_is_the_same(two_ranks):
    """FSDP2 on two ranks samples the same rollouts as DDP, and ends with the same weights."""
    logs = [json.loads((two_ranks / f"{name}.json").read_text()) for name in ("ddp", "fsdp2")]
    rewards = [[e["reward"] for e in log if "reward" in e] for log in logs]
    assert rewards[0] == pytest.approx(rewards[1], abs=1e-6)
    for run in ("", "-parts"):  # one backward pass per step, and two
        names = (f"ddp{run}", f"fsdp2{run}", "model")
        ddp, fsdp2, start = (load_vlm(two_ranks / name)[0] for name in names)
        assert vlm.largest_difference(ddp, start) > 5e-3
        assert vlm.largest_difference(ddp, fsdp2) < 1e-5


@pytest.mark.parametrize("engine", ["ddp", "fsdp2"])
def test_a_reward_that_fails_on_one_rank_stops_both(two_ranks, engine):
    for rank in range(2):
        message = (two_ranks / f"{engine}-error{rank}.txt").read_text()
        assert message.startswith(
            "reward function perception failed: KeyError: 'grid' after step 0"
        )


def test_a_rank_without_pictures_joins_the_tables_of_the_others(two_ranks):
    for rank in range(2):
        assert json.loads((two_ranks / f"mixed{rank}.json").read_text()) == [1] * 4 + [0] * 4


def test_a_row_that_one_rank_refuses_ends_both(two_ranks):
    first, second = ((two_ranks / f"refused{rank}.txt").read_text() for rank in range(2))
    sentence = "example bad: its messages have 2 image parts, and the row has 1 images"
    assert first == f"RuntimeError: rank 1: {sentence}" and second == f"ValueError: {sentence}"
