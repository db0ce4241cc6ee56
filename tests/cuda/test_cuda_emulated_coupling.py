"""The CUDA kernels of reward coupling executed on the CPU against the definitions, in float64."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from cuda_emulation_build import ONE_SCHEDULE, SCHEDULES, Emulated, Schedules, build_kernels
from torch import Tensor

from percbal_ops.coupling import reference

EPS = 1e-4
# Rows of each group: none, fewer than a warp has lanes, as many, more; three blocks of eight warps.
SIZES = [0, 1, 7, 33, 200, 64, 0, 5, 6, 7, 40, 2, 3, 32, 31, 9, 8, 1, 0]
LATE, CONSTANT, UNSCORED, GRADED = 4, 7, 8, 9  # groups that are special
C_NAMES = {torch.float32: "float", torch.float64: "double"}


class Rollouts(ctypes.Structure):
    """struct Rollouts, csrc/core/coupling/coupling_stats.h."""

    _fields_ = [
        ("outcome", ctypes.c_void_p),
        ("candidates", ctypes.c_int64),
        ("target", ctypes.c_void_p * 2),
        ("targets", ctypes.c_int64),
        ("order", ctypes.c_void_p),
        ("offsets", ctypes.c_void_p),
        ("rows", ctypes.c_int64),
        ("groups", ctypes.c_int64),
        ("length", ctypes.c_int64),
    ]


class Options(ctypes.Structure):
    """struct CouplingOptions, csrc/core/coupling/coupling_stats.h."""

    _fields_ = [
        ("origin_outcome", ctypes.c_void_p),
        ("origin_target", ctypes.c_void_p),
        ("eps", ctypes.c_double),
        ("right_at", ctypes.c_double),
    ]


@dataclass
class Batch:
    outcome: Tensor  # (R, C)
    targets: list[Tensor]  # (R) each: perception, or perception and reasoning
    order: Tensor  # (R) or (0) int32
    offsets: Tensor  # (G + 1)
    constant: Tensor  # the rows of a group whose outcomes are all equal
    length: int = 0  # unless 0, of every group: the kernels then get no offsets
    far: float = 0  # what all values lie about

    @property
    def groups(self) -> int:
        return len(self.offsets) - 1

    def view(self) -> Rollouts:
        pointers = [t.data_ptr() for t in self.targets] + [None, None]
        return Rollouts(
            self.outcome.data_ptr(),
            self.outcome.shape[1],
            (ctypes.c_void_p * 2)(*pointers[:2]),
            len(self.targets),
            self.order.data_ptr() if len(self.order) else None,
            None if self.length else self.offsets.data_ptr(),
            len(self.outcome),
            self.groups,
            self.length,
        )

    def truth(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Outcome, perception and reasoning, as the definitions take them."""
        perception, *rest = (t.double() for t in self.targets)
        return self.outcome.double(), perception, rest[0] if rest else None


def batch(
    layout: str = "runs",
    dtype: torch.dtype = torch.float32,
    candidates: int = 1,
    targets: int = 1,
    sizes: list[int] = SIZES,
    far: float = 0,
) -> Batch:
    """A tenth of everything is NaN. layout: "runs", "scattered" or "equal", groups of 7 rows."""
    g = torch.Generator().manual_seed(candidates + targets)
    sizes = [7] * len(sizes) if layout == "equal" else sizes
    offsets = torch.tensor([0, *sizes]).cumsum(0)
    rows = int(offsets[-1])
    outcome = torch.rand(rows, candidates, generator=g) - 0.2
    outcome[::3] = outcome[::3].round()  # so that both sides of some rows are 0 or 1
    perception = torch.randint(5, (rows,), generator=g) / 4
    reasoning = torch.rand(rows, generator=g) * 2 - 3
    for column in (outcome, perception, reasoning):
        column[torch.rand(column.shape, generator=g) < 0.1] = torch.nan
    late, constant, unscored, graded = (
        slice(*offsets[i : i + 2].tolist()) for i in (LATE, CONSTANT, UNSCORED, GRADED)
    )
    outcome[late][: sizes[LATE] // 3] = torch.nan  # the first 32 rows, where there are as many
    outcome[constant] = 0.1  # no sum of it is exact
    outcome[unscored] = torch.nan
    # some advantages are zero but for rounding
    outcome[graded] = torch.tensor([0.1, 0.4, 0.7, 0.4, 0.4, 0.7, 0.1])[:, None]
    perception[graded] = 1
    order, rows_of = torch.empty(0, dtype=torch.int32), torch.arange(rows)
    columns = [(far + c.double()).to(dtype) for c in (outcome, perception, reasoning)]
    if layout == "scattered":
        rows_of = torch.randperm(rows, generator=g)
        order = rows_of.to(torch.int32)
        columns = [torch.empty_like(c).index_copy(0, rows_of, c) for c in columns]
    length = 7 if layout == "equal" else 0
    outcome, *both = columns
    return Batch(outcome, both[:targets], order, offsets, rows_of[constant], length, far)


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Emulated:
    return build_kernels("coupling", tmp_path_factory)


def check_stats(
    emulated: Emulated, given: Batch, right_at: float = 1.0, schedules: Schedules = SCHEDULES
) -> None:
    c, t = given.outcome.shape[1], len(given.targets)
    origin = torch.tensor([0.1, -0.2, 0.3], dtype=torch.float64)[:c] + given.far
    origin_target = torch.tensor([0.5, -1.0], dtype=torch.float64)[:t] + given.far
    fields = t * reference.PAIR_FIELDS + reference.SIGNAL_FIELDS
    shapes = [
        (emulated.number("coupling_blocks", given.groups), c, fields),  # scratch
        (t, c, reference.PAIR_FIELDS),
        (c, reference.SIGNAL_FIELDS),
    ]
    _, *ours = emulated.run(
        f"coupling_stats_{C_NAMES[given.outcome.dtype]}",
        given.view(),
        Options(origin.data_ptr(), origin_target.data_ptr(), EPS, right_at),
        outputs=[(shape, torch.float64) for shape in shapes],
        schedules=schedules,
    )
    layout = (given.order, given.offsets)
    truth = reference.coupling_stats(*given.truth(), *layout, origin, origin_target, EPS, right_at)
    for a, b in zip(ours, truth, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def check_groups(emulated: Emulated, given: Batch, schedules: Schedules = SCHEDULES) -> None:
    shape = (len(given.targets), given.outcome.shape[1], given.groups)
    correlation, count = emulated.run(
        f"group_coupling_{C_NAMES[given.outcome.dtype]}",
        given.view(),
        outputs=[(shape, torch.float64), (shape, torch.int64)],
        schedules=schedules,
    )
    truth, true_count = reference.group_coupling(*given.truth(), given.order, given.offsets)
    assert torch.equal(count, true_count)
    torch.testing.assert_close(correlation, truth, rtol=1e-12, atol=1e-13, equal_nan=True)


def check_advantages(emulated: Emulated, given: Batch, schedules: Schedules = SCHEDULES) -> None:
    dtype = given.outcome.dtype
    ours = emulated.run(
        f"group_advantage_{C_NAMES[dtype]}",
        replace(given, targets=[]).view(),
        EPS,
        outputs=[(tuple(given.outcome.shape), dtype)] * 2,
        schedules=schedules,
    )
    truth = reference.group_advantage(given.outcome.double(), given.order, given.offsets, EPS)
    rtol = max(1e-12, torch.finfo(dtype).eps)
    for a, b in zip(ours, truth, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=rtol, atol=1e-15, equal_nan=True)
        assert not a[given.constant].any()  # exactly


LAYOUTS = pytest.mark.parametrize("layout", ["runs", "scattered", "equal"])
DTYPES = pytest.mark.parametrize("dtype", C_NAMES)
CANDIDATES = pytest.mark.parametrize("candidates", [1, 3])
TARGETS = pytest.mark.parametrize("targets", [1, 2])


@LAYOUTS
@DTYPES
@CANDIDATES
@TARGETS
def test_every_sum_equals_its_definition(
    emulated: Emulated, layout: str, dtype: torch.dtype, candidates: int, targets: int
) -> None:
    check_stats(emulated, batch(layout, dtype, candidates, targets))


@pytest.mark.parametrize("right_at", [-1.0, 0.5, 0.6, 2.0])
def test_perception_is_right_from_a_chosen_value_on(emulated: Emulated, right_at: float) -> None:
    check_stats(emulated, batch(candidates=3), right_at)


@LAYOUTS
@DTYPES
@CANDIDATES
@TARGETS
def test_correlations_of_groups_equal_their_definition(
    emulated: Emulated, layout: str, dtype: torch.dtype, candidates: int, targets: int
) -> None:
    check_groups(emulated, batch(layout, dtype, candidates, targets))


@LAYOUTS
@DTYPES
@CANDIDATES
def test_advantages_equal_their_definition(
    emulated: Emulated, layout: str, dtype: torch.dtype, candidates: int
) -> None:
    check_advantages(emulated, batch(layout, dtype, candidates))


def test_values_far_from_zero_keep_their_digits(emulated: Emulated) -> None:
    """Sums of squares about zero would lose the variance, if not that of a constant group."""
    given = batch(dtype=torch.float64, candidates=3, targets=2, far=1e3)
    check_stats(emulated, given, right_at=1e3 + 0.5)
    check_groups(emulated, given)
    check_advantages(emulated, given)


@pytest.mark.parametrize("check", [check_stats, check_groups, check_advantages])
def test_warps_take_several_groups_where_there_are_many(
    emulated: Emulated, check: Callable[..., None]
) -> None:
    many = batch(sizes=[*SIZES, *[2, 1, 3] * 2740])
    assert many.groups > 8 * 1024  # warps of the largest grid
    check(emulated, many, schedules=ONE_SCHEDULE)


@pytest.mark.parametrize("targets", [1, 2])
@pytest.mark.parametrize("groups", [0, 5])
def test_no_rollouts_are_fine(emulated: Emulated, groups: int, targets: int) -> None:
    given, nothing = batch(), torch.empty(0)
    offsets = torch.zeros(groups + 1, dtype=torch.int64)
    empty = Batch(given.outcome[:0], [nothing] * targets, given.order, offsets, given.constant[:0])
    for check in (check_stats, check_groups, check_advantages):
        check(emulated, empty)
