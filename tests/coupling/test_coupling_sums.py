"""The operators behind reward coupling: their sums and layouts against SciPy and the reference."""

import math

import numpy as np
import pytest
import torch
from coupling_cases import DEVICES, NAN, numpy_within, rollouts
from scipy import stats

from percbal_ops.coupling import reference, summary_reference
from percbal_ops.coupling.api import CouplingStats, reward_coupling

OPS = torch.ops.percbal


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
