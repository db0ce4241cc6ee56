"""Reward coupling: equality with NumPy and SciPy, honest intervals, mergeable sums."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from scipy import stats

from percbal_ops.coupling import reference, summary_reference
from percbal_ops.coupling.api import CouplingStats, group_advantage, reward_coupling

OPS = torch.ops.percbal
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
NAN = float("nan")


def rollouts(rows=600, groups=60, seed=0, scattered=False, missing=0.1, candidates=None):
    """Graded outcome, binary perception, graded reasoning; ids far apart."""
    g = torch.Generator().manual_seed(seed)
    shape = (rows,) if candidates is None else (rows, candidates)
    group = torch.randint(groups, (rows,), generator=g) * 10**15 - 7 * 10**16
    if not scattered:
        group = group.sort(descending=True).values  # runs, but not in rising order
    perception = (torch.rand(rows, generator=g) < 0.6).double()
    outcome = torch.rand(shape, generator=g) + 0.3 * perception.view(-1, *[1] * (len(shape) - 1))
    reasoning = torch.rand(rows, generator=g)
    for column in (outcome, perception, reasoning):
        column[torch.rand(column.shape, generator=g) < missing] = NAN
    return outcome, perception, reasoning, group


def numpy_within(x, y, group):
    keep = ~(np.isnan(x) | np.isnan(y))
    x, y, group = x[keep].copy(), y[keep].copy(), group[keep]
    for g in np.unique(group):
        x[group == g] -= x[group == g].mean()
        y[group == g] -= y[group == g].mean()
    return (x @ y) / math.sqrt((x @ x) * (y @ y))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("scattered", [False, True])
def test_correlations_equal_scipy_and_numpy(scattered, device):
    outcome, perception, reasoning, group = rollouts(scattered=scattered)
    columns = (column.to(device) for column in (outcome, perception, reasoning, group))
    result = reward_coupling(*columns, per_group=True)
    for t, (target, ours) in enumerate(
        [(perception, result.perception), (reasoning, result.reasoning)]
    ):
        x, y, g = outcome.numpy(), target.double().numpy(), group.numpy()
        keep = ~(np.isnan(x) | np.isnan(y))
        assert float(ours.pooled.r) == pytest.approx(stats.pearsonr(x[keep], y[keep])[0], abs=1e-12)
        assert float(ours.within.r) == pytest.approx(numpy_within(x, y, g), abs=1e-12)
        assert int(ours.pooled.count) == keep.sum()
        assert float(ours.target_mean) == pytest.approx(y[keep].mean())
        for i, r, n in zip(
            result.groups.ids, result.groups.correlation[t], result.groups.count[t], strict=True
        ):
            mine = keep & (g == int(i))
            assert int(n) == mine.sum()
            if len(set(x[mine])) > 1 and len(set(y[mine])) > 1:
                assert float(r) == pytest.approx(stats.pearsonr(x[mine], y[mine])[0], abs=1e-9)
            else:
                assert math.isnan(r)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scattered", [False, True])
@pytest.mark.parametrize("groups", [1, 3, 60, 600])
def test_every_sum_equals_the_reference(dtype, scattered, groups, device):
    outcome, perception, reasoning, group = rollouts(
        rows=997, groups=groups, scattered=scattered, candidates=3
    )
    group = group.to(device)
    columns = [t.to(device, dtype) for t in (outcome, perception, reasoning)]
    order, offsets, ids = OPS.group_layout(group)
    order_r, offsets_r, ids_r = reference.group_layout(group)
    assert torch.equal(ids.sort().values, ids_r.sort().values)
    origin = [torch.tensor(o, device=device).double() for o in ([0.1, 0.2, 0.3], [0.5, -1.0])]
    ours = OPS.coupling_stats(*columns, order, offsets, *origin, 1e-4, 1.0)
    truth = reference.coupling_stats(*columns, order_r, offsets_r, *origin, 1e-4, 1.0)
    for a, b in zip(ours, truth, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-9)
    by_id = OPS.coupling_stats_by_id(*columns, group, *origin, 1e-4, 1.0)
    for a, b in zip(by_id, truth, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-9)
    for name, rest in (("group_coupling", columns[1:]), ("group_advantage", [])):
        tail = (order, offsets) + ((1e-4,) if name == "group_advantage" else ())
        for a, b in zip(
            getattr(OPS, name)(columns[0], *rest, *tail),
            getattr(reference, name)(columns[0], *rest, *tail),
            strict=True,
        ):
            torch.testing.assert_close(a, b, equal_nan=True)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "graded", ["nothing", "reasoning", "perception", "a few rows", "nothing, a tenth missing"]
)
@pytest.mark.parametrize("size", [1, 2, 7, 8, 16, 57, 58, 64, 65, "uneven"])
def test_binary_rewards_equal_the_reference(dtype, graded, size, device):
    """Sums of nothing but 0, 1 and NaN come from population counts, of up to 64 rows a group; the
    other columns, and other blocks of rows, do not."""
    g = torch.Generator().manual_seed(3)
    if size == "uneven":
        sizes = torch.randint(1, 40, (150,), generator=g)
    else:
        sizes = torch.full((5000 // size,), size)
    group = torch.arange(len(sizes)).repeat_interleave(sizes)
    share = torch.rand(len(sizes), 3, generator=g).mul(1.6).sub(0.3)[group]  # some are constant
    x, y, z = (torch.rand(len(group), 3, generator=g) < share).to(dtype).unbind(1)
    y[y == 0] *= -1  # -0.0 is 0
    if graded in ("reasoning", "perception"):
        column = z if graded == "reasoning" else y
        column += torch.rand(len(column), generator=g)
    elif graded == "a few rows":
        for column in (x, y, z):
            column[torch.rand(len(column), generator=g) < 1e-3] = torch.tensor([0.5, NAN])[
                torch.randint(2, (1,), generator=g)
            ].item()
    elif graded == "nothing, a tenth missing":
        for column in (x, y, z):
            column[torch.rand(len(column), generator=g) < 0.1] = NAN
        x[group % 7 == 0] = y[group % 7 == 1] = z[group % 7 == 2] = NAN
    columns = [c.to(device) for c in (x[:, None], y, z)]
    order, offsets, _ = reference.group_layout(group.to(device))
    origin = [torch.tensor(o, device=device).double() for o in ([1.0], [0.0, 0.25])]
    for targets in (columns, [*columns[:2], None]):
        o = (origin[0], origin[1][: 1 + (targets[2] is not None)])
        for right_at in (1.0, 0.0, 2.0):
            truth = reference.coupling_stats(*targets, order, offsets, *o, 1e-4, right_at)
            ours = OPS.coupling_stats(*targets, order, offsets, *o, 1e-4, right_at)
            by_id = OPS.coupling_stats_by_id(*targets, group.to(device), *o, 1e-4, right_at)
            for a, b in zip((*ours, *by_id), (*truth, *truth), strict=True):
                torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-9)


@pytest.mark.parametrize(
    "change",
    [
        lambda ids: ids.flip(0),
        lambda ids: ids.index_fill(0, torch.tensor([15]), 1),  # rows 15 and 16 of one group
        lambda ids: ids.index_fill(0, torch.tensor([149_999]), 9375),  # and 149,999 and 150,000
        lambda ids: ids.index_fill(0, torch.tensor([150_005]), 0),  # row 0's group again, far away
        lambda ids: torch.cat([ids[16:], ids[:16]]),
        lambda ids: ids.index_fill(0, torch.arange(150_000, 150_016), 9374),  # a run twice as long
        lambda ids: ids,  # runs of one length after all
    ],
    ids=["falling", "shifted", "shifted late", "returning", "rotated", "joined", "equal"],
)
def test_what_is_not_quite_runs_of_one_length_equals_the_reference(change):
    """Runs as long as the first are summed while they are checked, chunk by chunk."""
    rows = 160_000
    outcome, perception, reasoning, _ = rollouts(rows=rows)
    group = change(torch.arange(rows) // 16)
    columns = [c.double() for c in (outcome[:, None], perception, reasoning)]
    origin = torch.zeros(1).double(), torch.zeros(2).double()
    order, offsets, _ = reference.group_layout(group)
    truth = reference.coupling_stats(*columns, order, offsets, *origin, 1e-4, 1.0)
    ours = OPS.coupling_stats_by_id(*columns, group, *origin, 1e-4, 1.0)
    for a, b in zip(ours, truth, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-9)


@pytest.mark.parametrize("groups", [1, 2, 3, 4, 9, 200, 1001, 5000])
@pytest.mark.parametrize("kind", ["graded", "binary", "constant", "equal"])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999999])
def test_every_number_equals_the_reference(groups, kind, confidence):
    outcome, perception, reasoning, _ = rollouts(rows=8 * groups, candidates=3)
    if kind == "binary":
        outcome, reasoning = (c.where(c.isnan(), (c > 0.5).double()) for c in (outcome, reasoning))
    elif kind == "constant":
        outcome = outcome.where(outcome.isnan(), 1.0)
    elif kind == "equal":
        outcome = perception[:, None].expand(-1, 3).clone()
    stats_of = CouplingStats(3, reasoning=True)
    stats_of.update(outcome, perception, reasoning, torch.arange(8 * groups) // 8)
    origins = stats_of.origin_outcome, stats_of.origin_target
    sums = (stats_of.pair, stats_of.signal, *origins, confidence)
    ours = OPS.coupling_summary(*sums)
    truth = summary_reference.coupling_summary(*sums)
    for a, b in zip(ours, truth, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9, equal_nan=True)
    if kind in ("graded", "binary") and groups > 3:
        assert ours[0][:, :3].isfinite().all()  # r and its interval


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("ids", ["compact", "anywhere", "all of them"])
@pytest.mark.parametrize("reasoning", [False, True])
@pytest.mark.parametrize("missing", [0, 0.1])
def test_scattered_ids_equal_sorted_ids(ids, reasoning, missing, device):
    """Rows reach their groups by subtraction or by hashing; those of sorted ids stay put."""
    outcome, perception, graded, _ = rollouts(rows=30_011, missing=missing)
    g = torch.Generator().manual_seed(1)
    group = torch.randint(-700, 1300, (30_011,), generator=g)
    if ids == "anywhere":
        group = group * 10**15
    if ids == "all of them":
        group[:2] = torch.tensor([2**63 - 1, -(2**63)])
    group = group.to(device)
    columns = [c.to(device) for c in (outcome, perception, *([graded] if reasoning else []))]
    scattered = CouplingStats(reasoning=reasoning).update(*columns, group=group)
    by_id = group.sort(stable=True)
    columns = [c[by_id.indices] for c in columns]
    runs = CouplingStats(reasoning=reasoning).update(*columns, group=by_id.values)
    torch.testing.assert_close(scattered.tensor(), runs.tensor(), rtol=1e-11, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.bool, torch.float16, torch.bfloat16, torch.int64])
def test_other_dtypes_equal_float64(dtype):
    g = torch.Generator().manual_seed(3)
    outcome, perception = (torch.rand(2, 400, generator=g) < 0.5).unbind()
    group = torch.arange(400) // 8
    ours = reward_coupling(outcome.to(dtype), perception.to(dtype), None, group)
    wide = reward_coupling(outcome.double(), perception.double(), None, group)
    assert ours.to_dict() == wide.to_dict()


def test_layout_of_ids_that_return_later_is_one_group():
    group = torch.tensor([5, 5, 9, 5, -(2**63), 2**63 - 1, 9])
    order, offsets, ids = OPS.group_layout(group)
    members = {
        int(i): order[a:b].tolist() for i, a, b in zip(ids, offsets, offsets[1:], strict=False)
    }
    assert members == {5: [0, 1, 3], 9: [2, 6], -(2**63): [4], 2**63 - 1: [5]}


@pytest.mark.parametrize("rows", [1, 7, 8, 9, 63, 64, 65, 5000])
@pytest.mark.parametrize("size", [1, 2, 5, 8, 16])
def test_layout_of_runs_is_exact(rows, size):
    group = (torch.arange(rows) // size) * -3
    order, offsets, ids = OPS.group_layout(group)
    if order.numel() == 0:
        assert torch.equal(ids.repeat_interleave(offsets.diff()), group)
    else:
        assert torch.equal(ids.repeat_interleave(offsets.diff()), group[order.long()])
        assert torch.equal(order.sort().values, torch.arange(rows, dtype=torch.int32))


@pytest.mark.parametrize(
    "outcome",
    [[0.1] * 6, [NAN] * 6, [0.1, NAN, 0.1, 0.1, NAN, 0.1]],
    ids=["constant", "all NaN", "constant or NaN"],
)
@pytest.mark.parametrize("group", [[0] * 6, [0, 0, 0, 1, 1, 1], [0, 1, 2, 3, 4, 5]])
def test_without_variation_there_is_no_correlation_and_no_signal(outcome, group):
    perception = torch.tensor([0.0, 1, 1, 0, 1, 0])
    result = reward_coupling(torch.tensor(outcome), perception, None, torch.tensor(group))
    for correlation in (result.perception.pooled, result.perception.within):
        assert math.isnan(correlation.r) and math.isnan(correlation.low)
    scored = int(result.signal.scored)
    assert scored == sum(v == v for v in outcome)
    assert float(result.signal.silent_groups) == 1 if scored else True
    assert math.isnan(result.signal.conflict_rate)


def test_no_rollouts_and_one_rollout():
    empty = reward_coupling(torch.zeros(0), torch.zeros(0), None, torch.zeros(0, dtype=torch.long))
    assert int(empty.perception.pooled.count) == 0 and math.isnan(empty.perception.pooled.r)
    one = reward_coupling(torch.ones(1), torch.ones(1))
    assert int(one.perception.pooled.count) == 1 and math.isnan(one.perception.pooled.r)
    assert float(one.signal.silent_groups) == 1


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


def test_groups_of_one_leave_nothing_within():
    outcome, perception, _, _ = rollouts(missing=0)
    alone = reward_coupling(outcome, perception, None, torch.arange(len(outcome)))
    assert math.isnan(alone.perception.within.r)
    assert float(alone.signal.silent_groups) == 1
    assert alone.to_dict() == reward_coupling(outcome, perception).to_dict()


def test_one_group_has_a_correlation_but_no_interval():
    outcome, perception, _, _ = rollouts(missing=0)
    one = reward_coupling(outcome, perception, None, torch.zeros(len(outcome), dtype=torch.long))
    assert float(one.perception.within.r) == pytest.approx(float(one.perception.pooled.r))
    assert math.isnan(one.perception.pooled.low)


def test_a_matrix_of_candidates_equals_one_call_each():
    outcome, perception, reasoning, group = rollouts(candidates=5, scattered=True)
    together = reward_coupling(outcome, perception, reasoning, group)
    for c in range(5):
        one = reward_coupling(outcome[:, c], perception, reasoning, group)
        assert float(one.perception.within.r) == pytest.approx(
            float(together.perception.within.r[c])
        )
        assert float(one.reasoning.pooled.low) == pytest.approx(
            float(together.reasoning.pooled.low[c])
        )
        assert float(one.signal.conflict_rate) == pytest.approx(
            float(together.signal.conflict_rate[c])
        )


def test_a_far_offset_does_not_change_the_answer():
    outcome, perception, _, group = rollouts(missing=0)
    near = reward_coupling(outcome, perception, None, group).perception
    far = reward_coupling(outcome + 1e6, perception, None, group).perception
    for a, b in ((near.pooled, far.pooled), (near.within, far.within)):
        assert [float(v) for v in (a.r, a.low, a.high)] == pytest.approx(
            [float(v) for v in (b.r, b.low, b.high)], abs=1e-7
        )


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


@pytest.mark.parametrize("device", DEVICES)
def test_advantages_equal_the_grpo_formula(device):
    reward = torch.rand(12, 8, generator=torch.Generator().manual_seed(1)).to(device)
    reward[3] = 0.1  # no signal
    group = torch.arange(12, device=device).repeat_interleave(8)
    shuffle = torch.randperm(96, generator=torch.Generator().manual_seed(2)).to(device)
    scaled, centred = group_advantage(reward.flatten()[shuffle], group[shuffle])
    truth = reward - reward.mean(1, keepdim=True)
    truth[3] = 0
    torch.testing.assert_close(centred, truth.flatten()[shuffle])
    truth = truth / (reward.std(1, keepdim=True) + 1e-4)
    torch.testing.assert_close(scaled, truth.flatten()[shuffle])


def test_signal_equals_counting_by_hand():
    outcome, perception, _, group = rollouts(rows=400, groups=50, scattered=True)
    outcome = (outcome > 0.6).double().where(outcome.isfinite(), NAN)
    result = reward_coupling(outcome, perception, None, group).signal
    scaled, centred = group_advantage(outcome, group)
    known = scaled.isfinite() & perception.isfinite()
    right, moved = perception == 1, known & (scaled != 0)
    conflict = moved & (right == (scaled < 0))
    mass = scaled.abs().where(known, 0)
    assert float(result.conflict_rate) == pytest.approx(float(conflict.sum() / moved.sum()))
    assert float(result.conflict_share) == pytest.approx(float(mass[conflict].sum() / mass.sum()))
    assert float(result.share_right) == pytest.approx(float(mass[right].sum() / mass.sum()))
    assert float(result.share_right + result.share_wrong) == pytest.approx(1)
    mass = centred.abs().where(known, 0)
    assert float(result.share_right_centred) == pytest.approx(float(mass[right].sum() / mass.sum()))
    praised = known & ~right & (scaled > 0)
    assert float(result.praised_wrong) == pytest.approx(
        float(praised.sum() / (known & ~right).sum())
    )
    blamed = known & right & (scaled < 0)
    assert float(result.blamed_right) == pytest.approx(float(blamed.sum() / (known & right).sum()))
    silent = [centred[(group == g) & outcome.isfinite()].abs().sum() == 0 for g in group.unique()]
    assert float(result.silent_groups) == pytest.approx(sum(silent) / len(silent))


def test_when_success_needs_perception_the_correlation_only_echoes_the_accuracies():
    g = torch.Generator().manual_seed(0)
    perception = torch.rand(4000, generator=g) < 0.7
    outcome = perception & (torch.rand(4000, generator=g) < 0.5)
    coupled = reward_coupling(outcome, perception, None, torch.arange(4000) // 8).perception
    a, p = outcome.double().mean(), perception.double().mean()
    identity = float((a * (1 - p) / (p * (1 - a))).sqrt())
    assert float(coupled.pooled.r) == pytest.approx(identity)
    assert float(coupled.pooled.echo) == pytest.approx(identity)
    assert float(coupled.within.echo) == pytest.approx(float(coupled.within.r))
    assert float(coupled.wrong_success) == pytest.approx(0, abs=1e-12)
    assert float(coupled.echo_ratio) == pytest.approx(1)


def test_echo_ratio_is_the_precision_of_success_beyond_the_base_rate():
    g = torch.Generator().manual_seed(0)
    perception = torch.rand(4000, generator=g) < 0.7
    outcome = torch.rand(4000, generator=g) < 0.3 + 0.2 * perception
    coupled = reward_coupling(outcome, perception).perception
    p, q = float(perception.double().mean()), float(perception[outcome].double().mean())
    assert float(coupled.echo_ratio) == pytest.approx((q - p) / (1 - p))
    assert float(coupled.wrong_success) == pytest.approx(1 - q)
    assert math.isnan(reward_coupling(outcome * 0.5, perception).perception.pooled.echo)


def simulate(groups, g):
    """Prompts differ in difficulty, so rollouts of one group are alike; unequal group sizes."""
    sizes = torch.randint(2, 11, (groups,), generator=g)
    skill = torch.randn(groups, 2, generator=g).repeat_interleave(sizes, 0)
    noise = torch.randn(len(skill), 2, generator=g)
    perception = skill[:, 0] + noise[:, 0] > -0.3
    outcome = 0.6 * skill[:, 0] + 0.5 * skill[:, 1] + noise[:, 1] + 0.8 * perception > 0.8
    return outcome, perception, torch.arange(groups).repeat_interleave(sizes)


@pytest.mark.parametrize(("groups", "lowest"), [(16, 0.90), (128, 0.92)])
def test_intervals_cover_the_truth_as_often_as_they_say(groups, lowest):
    """95% intervals over 600 data sets: the share has a standard error of 0.9 points."""
    g = torch.Generator().manual_seed(7)
    x, p, group = simulate(300_000, g)
    truth = reward_coupling(x, p, None, group).perception
    covered = torch.zeros(2)
    for _ in range(600):
        x, p, group = simulate(groups, g)
        ours = reward_coupling(x, p, None, group).perception
        for k, name in enumerate(("pooled", "within")):
            interval = getattr(ours, name)
            covered[k] += interval.low <= getattr(truth, name).r <= interval.high
    share = covered / 600
    assert (share > lowest).all() and (share < 0.98).all(), share.tolist()


def test_intervals_that_ignored_groups_would_be_too_narrow():
    x, p, group = simulate(2000, torch.Generator().manual_seed(1))
    honest = reward_coupling(x, p, None, group).perception.pooled
    naive = reward_coupling(x, p).perception.pooled
    assert float(honest.high - honest.low) > 1.1 * float(naive.high - naive.low)


@pytest.mark.parametrize("df", [1, 2, 3, 4, 7, 30, 255, 1000, 100_000])
@pytest.mark.parametrize("q", [0.55, 0.9, 0.975, 0.9995, 0.9999995])
def test_student_quantile_equals_scipy(df, q):
    assert summary_reference.t_quantile(q, df) == pytest.approx(stats.t.ppf(q, df), rel=1e-7)


@pytest.mark.parametrize("spacing", [1, 10**15], ids=["compact", "far apart"])
@pytest.mark.parametrize("layout", ["runs", "scattered", "equal runs"])
def test_the_sums_do_not_depend_on_the_number_of_threads(spacing, layout):
    scattered = layout == "scattered"
    outcome, perception, _, group = rollouts(rows=200_000, groups=9000, scattered=scattered)
    group = group // 10**15 * spacing
    if layout == "equal runs":
        group = torch.arange(len(group)) // 16 * spacing
    before = torch.get_num_threads()
    sums = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        sums.append(CouplingStats().update(outcome, perception, None, group).tensor())
    torch.set_num_threads(before)
    assert torch.equal(*sums)


def test_ten_million_rollouts():
    rows = 10_000_000
    perception = torch.arange(rows) % 3 == 0
    outcome = perception & (torch.arange(rows) % 2 == 0)
    result = reward_coupling(outcome, perception, None, (torch.arange(rows) // 10) * 2**40)
    assert int(result.signal.groups) == 1_000_000
    a, p = 1 / 6, 1 / 3
    assert float(result.perception.pooled.r) == pytest.approx(
        math.sqrt(a * (1 - p) / (p * (1 - a))), abs=1e-6
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"outcome": torch.zeros(3, 1, 1)}, r"outcome must be \(R,\) or \(R, C\), got 3 dims"),
        ({"perception": torch.zeros(4)}, r"perception must be \(3,\) like outcome, got \(4,\)"),
        ({"group": torch.zeros(3)}, "group must hold integer ids, got torch.float32"),
        ({"outcome": torch.zeros(3, dtype=torch.complex64)}, "rewards must be real"),
        ({"outcome": torch.tensor([0, 1, math.inf])}, "got 1 infinite value"),
        ({"perception": torch.tensor([0, -math.inf, 1])}, "got 1 infinite value"),
        ({"confidence": 95}, "confidence must lie between 0 and 1, got 95"),
    ],
)
def test_bad_input_is_named(change, message):
    good = {"outcome": torch.zeros(3), "perception": torch.zeros(3), "group": torch.arange(3)}
    with pytest.raises(ValueError, match=message):
        reward_coupling(**(good | change))


@pytest.mark.parametrize("device", DEVICES)
def test_an_infinite_outcome_shows_where_no_target_is_scored(device):
    outcome = torch.tensor([0, 1, math.inf, 0, 1, 1], device=device)
    perception = torch.tensor([0, 1, NAN, 0, 0, 1], device=device)
    group = torch.tensor([0, 0, 0, 1, 1, 1], device=device)
    with pytest.raises(ValueError, match="got 1 infinite value"):
        reward_coupling(outcome, perception, None, group)
    advantage = group_advantage(outcome, group)
    for a in advantage:
        assert not a[:3].isfinite().any() and a[3:].isfinite().all()


def test_loaded_sums_are_the_statistics_own():
    sums = CouplingStats().tensor()
    running = CouplingStats().load_tensor(sums)
    running.update(torch.tensor([0.0, 1]), torch.tensor([0.0, 1]), None, torch.tensor([0, 0]))
    assert running.tensor().any() and not sums.any()


def test_operators_pass_opcheck():
    outcome, perception, reasoning, group = rollouts(rows=40, groups=5, scattered=True, missing=0)
    columns = [t.double() for t in (outcome[:, None], perception, reasoning)]
    order, offsets, _ = OPS.group_layout(group)
    origin = torch.zeros(1).double(), torch.zeros(2).double()
    torch.library.opcheck(OPS.group_layout.default, (group,))
    torch.library.opcheck(
        OPS.coupling_stats.default, (*columns, order, offsets, *origin, 1e-4, 1.0)
    )
    torch.library.opcheck(OPS.coupling_stats_by_id.default, (*columns, group, *origin, 1e-4, 1.0))
    torch.library.opcheck(OPS.group_coupling.default, (*columns, order, offsets))
    binary = [(column > 0.5).double() for column in columns]  # without NaN, which opcheck refuses
    sums = OPS.coupling_stats(*binary, order, offsets, *origin, 1e-4, 1.0)
    torch.library.opcheck(OPS.coupling_summary.default, (*sums, *origin, 0.95))
    torch.library.opcheck(OPS.group_advantage.default, (columns[0], order, offsets, 1e-4))


def test_the_worked_example_of_the_documentation_runs():
    text = (Path(__file__).parents[2] / "docs" / "coupling.md").read_text()
    (example,) = re.findall(r"```python\n(# worked example\n.*?)```", text, re.DOTALL)
    exec(compile(example, "docs/coupling.md", "exec"), {})


def test_an_outcome_without_candidates_is_refused():
    with pytest.raises(ValueError, match=r"at least one candidate, got \(4, 0\)"):
        reward_coupling(torch.zeros(4, 0), torch.zeros(4))
