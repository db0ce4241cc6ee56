"""Facts about GRPO on two processes: groups are those of the whole batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rl_fixtures as rl
import torch

from percbal.credit import (
    NO_PERCEPTION,
    Advantages,
    assign_credit,
    segment_scale,
    token_advantages,
)
from percbal.text_key import text_key

TESTS = Path(__file__).parent


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    directory = tmp_path_factory.mktemp("ranks")
    rl.tiny_policy(directory / "model")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, str(TESTS / "grpo_worker.py"), str(directory)],
        env={**os.environ, "PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return directory


def test_advantages_are_those_of_one_process(two_ranks):
    ranks = [torch.load(two_ranks / f"rank{i}.pt", weights_only=False) for i in range(2)]
    assert torch.equal(ranks[0]["rewards"], ranks[1]["rewards"]), "every rank has all rewards"
    perceived = [text for rank in ranks for text in rank["perception"]]
    keys = [NO_PERCEPTION if text is None else text_key(text) for text in perceived]
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
    log = json.loads((two_ranks / "log.json").read_text())
    assert sum("coupling/silent_groups" in entry for entry in log) == 3


def test_a_reward_that_fails_on_one_rank_stops_both(two_ranks):
    for rank in range(2):
        message = (two_ranks / f"error{rank}.txt").read_text()
        assert message.startswith("reward function perception raised KeyError: 'grid' after step 0")
