"""Triton's kernels around a segment loss against plain torch.

They run on a GPU where there is one and TRITON_INTERPRET is unset, else under Triton's interpreter.
"""

import os

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
if not (INTERPRETED or torch.cuda.is_available()):
    pytest.skip("Triton needs a GPU or TRITON_INTERPRET=1", allow_module_level=True)

from percbal_ops.losses import segments as plain  # noqa: E402
from percbal_ops.losses.triton import segments as kernels  # noqa: E402

DEVICE = "cpu" if INTERPRETED else "cuda"
IGNORE = -100


def rows(n: int, segments: int, dtype: torch.dtype = torch.int64) -> tuple[Tensor, Tensor]:
    """Targets, some ignored, and ids, some of no segment on either side."""
    generator = torch.Generator().manual_seed(n + segments)
    target = torch.randint(50, (n,), generator=generator, dtype=dtype)
    target[::5] = IGNORE
    ids = torch.randint(-2, segments + 2, (n,), generator=generator, dtype=dtype)
    return target.to(DEVICE), ids.to(DEVICE)


def assert_same(ours: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> None:
    for a, b in zip(ours, expected, strict=True):
        assert a.dtype == b.dtype
        eps = torch.finfo(a.dtype).eps if a.is_floating_point() else 0.0
        torch.testing.assert_close(a, b, rtol=2 * eps, atol=0.0, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("counts", [None, torch.int64, torch.float32])
@pytest.mark.parametrize("segments", [1, 2, 3, 40, 128, 129])
def test_rows_are_split_as_in_the_reference(segments, counts, dtype) -> None:
    target, ids = rows(1500, segments)
    weights = torch.linspace(0, 2, segments, dtype=dtype, device=DEVICE)
    given = None
    if counts is not None:
        given = torch.arange(segments, device=DEVICE).to(counts)  # the first one is 0
    args = (target, ids, weights, given, IGNORE)
    assert_same(kernels.split_segments(*args), plain.split_segments(*args))


def test_ids_of_any_integer_and_any_stride() -> None:
    target, ids = rows(90, 2, torch.int32)
    weights = torch.tensor([0.25, 0.75], device=DEVICE)
    args = (target[::3], ids[1::3], weights, None, IGNORE)
    assert_same(kernels.split_segments(*args), plain.split_segments(*args))


def test_no_row_and_no_member() -> None:
    weights = torch.tensor([0.25, 0.75], device=DEVICE)
    nothing = torch.empty(0, dtype=torch.int64, device=DEVICE)
    outside = torch.full((7,), -1, device=DEVICE)
    for ids in (nothing, outside):
        args = (ids.clone(), ids, weights, None, IGNORE)
        found = kernels.split_segments(*args)
        assert_same(found, plain.split_segments(*args))
        loss = torch.full(ids.shape, torch.nan, device=DEVICE)
        mean, norm = kernels.segment_results(loss, loss, found[4], found[1])
        assert mean.eq(0).all() and norm.eq(0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("segments", [1, 2, 40, 129])
def test_means_and_norms_are_those_of_the_reference(segments, dtype) -> None:
    target, ids = rows(3000, segments)
    weights = torch.ones(segments, dtype=dtype, device=DEVICE)
    _, inverse, _, _, ids = kernels.split_segments(target, ids, weights, None, IGNORE)
    loss, square = torch.rand(2, 3000, dtype=dtype, device=DEVICE)
    loss[ids < 0] = torch.nan  # rows of no segment do not show
    args = (loss, square, ids, inverse)
    ours, expected = kernels.segment_results(*args), plain.plain_segment_results(*args)
    torch.testing.assert_close(ours, expected, rtol=2e-7, atol=0.0)


def test_a_bad_row_spoils_its_own_segment_alone() -> None:
    ids = torch.tensor([0, 1, 0, 1], device=DEVICE)
    loss = torch.tensor([1.0, torch.nan, 3.0, torch.inf], device=DEVICE)
    inverse = torch.tensor([0.5, 0.5], dtype=torch.float64, device=DEVICE)
    mean, norm = kernels.segment_results(loss, loss, ids, inverse)
    assert mean[0] == 2 and mean[1].isnan() and norm[0] == 1 and norm[1].isnan()
