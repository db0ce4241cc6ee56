"""Running statistics of reward coupling: batches and ranks add up to one big call."""

import math

import pytest
import torch
import torch.distributed as dist
from coupling_cases import numpy_within, rollouts

from percbal_ops.coupling.api import CouplingStats, group_advantage, reward_coupling


def batches(n=5):
    return [rollouts(seed=s, groups=20, rows=150 + s, scattered=s % 2 == 1) for s in range(n)]


def test_merging_in_any_order_equals_one_big_call():
    parts = []
    for batch in batches():
        parts.append(CouplingStats(reasoning=True).update(*batch))
    forward, backward = CouplingStats(reasoning=True), CouplingStats(reasoning=True)
    for part in parts:
        forward.merge(part)
    for part in reversed(parts):
        backward.merge(part)
    columns = [torch.cat(column) for column in zip(*batches(), strict=True)]
    columns[3] = torch.cat([b[3] + i for i, b in enumerate(batches())])  # groups of their own
    whole = reward_coupling(*columns)
    torch.testing.assert_close(forward.tensor(), backward.tensor(), rtol=1e-13, atol=1e-10)
    for summary in (forward.summary(), backward.summary()):
        for ours, truth in (
            (summary.perception.pooled, whole.perception.pooled),
            (summary.reasoning.within, whole.reasoning.within),
        ):
            for name in ("r", "low", "high", "count", "groups"):
                assert float(getattr(ours, name)) == pytest.approx(float(getattr(truth, name)))
        assert float(summary.signal.share_right) == pytest.approx(float(whole.signal.share_right))


def test_ranks_combine_by_adding_one_small_tensor():
    ranks = [CouplingStats().update(b[0], b[1], None, b[3]) for b in batches(3)]
    summed = CouplingStats().load_tensor(sum(rank.tensor() for rank in ranks))
    merged = ranks[0].merge(ranks[1]).merge(ranks[2])
    assert torch.equal(summed.tensor(), merged.tensor())
    assert summed.tensor().numel() == 57


def reduce_in_two_processes(rank, store, results):
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    part = CouplingStats(2, reasoning=True)
    for batch in two_rewards()[rank::2]:
        part.update(*batch)
    torch.save(part.all_reduce().tensor(), f"{results}/{rank}.pt")
    torch.save(CouplingStats().all_reduce().tensor(), f"{results}/nothing.pt")
    dist.destroy_process_group()


def two_rewards():
    """Three batches of an outcome and a surrogate; rank 0 gets two of them, rank 1 one."""
    return [
        rollouts(seed=s, groups=20 + s, rows=100 + 40 * s, candidates=2, scattered=s == 1)
        for s in range(3)
    ]


@pytest.mark.skipif(not dist.is_gloo_available(), reason="this torch has no gloo")
def test_two_ranks_log_what_one_process_sees(tmp_path):
    """Everything a trainer logs comes out of the sums of ranks that saw different groups."""
    torch.multiprocessing.spawn(reduce_in_two_processes, (tmp_path / "store", tmp_path), nprocs=2)
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    assert torch.equal(*ranks)  # every rank logs the same
    assert not torch.load(tmp_path / "nothing.pt").any()  # ranks without rollouts take part
    merged = CouplingStats(2, reasoning=True).load_tensor(ranks[0]).summary()
    outcome, perception, reasoning, group = (
        torch.cat(column) for column in zip(*two_rewards(), strict=True)
    )
    group = group + torch.arange(3).repeat_interleave(torch.tensor([100, 140, 180]))
    x, y, z, g = (t.numpy() for t in (outcome, perception, reasoning, group))
    assert merged.perception.within.r.tolist() == pytest.approx(
        [numpy_within(x[:, 0], y, g), numpy_within(x[:, 1], y, g)]
    )
    assert float(merged.reasoning.within.r[0]) == pytest.approx(numpy_within(x[:, 0], z, g))
    scaled, _ = group_advantage(outcome[:, 0], group)
    moved = scaled.isfinite() & (scaled != 0) & perception.isfinite()
    conflict = moved & ((perception == 1) == (scaled < 0))
    assert float(merged.signal.conflict_rate[0]) == pytest.approx(
        float(conflict.sum() / moved.sum())
    )
    groups = [scaled[(group == i) & scaled.isfinite()] for i in group.unique()]
    silent = [bool((a == 0).all()) for a in groups if len(a)]
    assert float(merged.signal.silent_groups[0]) == pytest.approx(sum(silent) / len(silent))


def test_statistics_of_different_settings_do_not_merge():
    with pytest.raises(ValueError, match="different right_at: 1.0, 0.5"):
        CouplingStats().merge(CouplingStats(right_at=0.5))
    with pytest.raises(ValueError, match="hold 2 candidates and 1 targets, got 1 and 1"):
        CouplingStats(2).update(torch.zeros(3), torch.zeros(3))


@pytest.mark.parametrize(
    "given, sentence",
    [
        (dict(candidates=0), "candidates must be at least 1, got 0"),
        (dict(candidates=-2), "candidates must be at least 1, got -2"),
        (
            dict(candidates=3, origin_outcome=torch.zeros(2)),
            r"origin_outcome must be \(3,\), a number for each candidate, got \(2,\)",
        ),
        (dict(origin_outcome=torch.zeros(0)), r"origin_outcome must be \(C,\), .*, got \(0,\)"),
        (dict(origin_outcome=torch.tensor(1.0)), r"origin_outcome must be \(C,\), .*, got \(\)"),
        (
            dict(origin_outcome=torch.tensor([math.nan, 1])),
            r"origin_outcome must be finite, got \[nan, 1.0\]",
        ),
        (
            dict(reasoning=True, origin_target=torch.zeros(1)),
            r"origin_target must be \(2,\), a number for each target, got \(1,\)",
        ),
        (
            dict(origin_target=torch.zeros(2)),
            r"origin_target must be \(1,\), a number for each target, got \(2,\)",
        ),
        (dict(eps=math.nan), "eps must be finite and not negative, got nan"),
        (dict(eps=-0.1), "eps must be finite and not negative, got -0.1"),
        (dict(right_at=math.nan), "right_at must be a number, got nan"),
    ],
)
def test_settings_that_hold_no_statistics_are_refused_at_once(given, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        CouplingStats(**given)


def test_origins_that_agree_with_the_numbers_of_columns_are_taken():
    origins = dict(origin_outcome=torch.tensor([5.0, 7]), origin_target=torch.tensor([1.0, 2]))
    given = torch.tensor([[5.0, 7], [6, 9], [4, 8]]), torch.rand(3), torch.rand(3)
    plain, counted, alone = (
        CouplingStats(**arguments, reasoning=True).update(*given, torch.zeros(3).long()).summary()
        for arguments in (dict(candidates=2), dict(candidates=2, **origins), origins)
    )
    for other in (counted, alone):
        torch.testing.assert_close(other.perception.pooled.r, plain.perception.pooled.r)
        torch.testing.assert_close(other.reasoning.target_mean, plain.reasoning.target_mean)


def test_origins_are_the_statistics_own():
    origin = torch.zeros(1, dtype=torch.float64)
    running = CouplingStats(origin_outcome=origin)
    origin.fill_(9)
    assert running.origin_outcome == 0


@pytest.mark.parametrize("reasoning", [False, True])
def test_a_batch_without_rollouts_adds_nothing(reasoning):
    """A rank may have none. Its tensors have null pointers, and freed memory is not zero."""
    running = CouplingStats(reasoning=reasoning)
    none = torch.zeros(0)
    for group in (none.long(), None):
        del_me = [torch.full((n,), 7.0).double() for n in (40, 80, 17, 40, 80, 17)]
        del del_me
        running.update(none, none, none if reasoning else None, group)
    assert not running.tensor().any()


def test_loaded_sums_are_the_statistics_own():
    sums = CouplingStats().tensor()
    running = CouplingStats().load_tensor(sums)
    running.update(torch.tensor([0.0, 1]), torch.tensor([0.0, 1]), None, torch.tensor([0, 0]))
    assert running.tensor().any() and not sums.any()
