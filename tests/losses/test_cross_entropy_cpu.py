"""What is particular to the C++ operators: threads, layouts, odd arguments, the binary itself."""

from __future__ import annotations

import mmap
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from cpu_cases import DTYPES, OPTIONS, Case, acc, case, random_case, run
from torch import Tensor

_C = pytest.importorskip("percbal_ops._C")


@pytest.mark.parametrize("name", ["token_cross_entropy", "token_cross_entropy_backward",
                                  "weighted_cross_entropy", "scale_"])  # fmt: skip
def test_cpp_serves_the_cpu(name: str) -> None:
    assert torch._C._dispatch_has_kernel_for_dispatch_key(f"percbal::{name}", "CPU")


@pytest.mark.parametrize("rows,vocab", [(37, 50257), (5000, 117), (1, 300000)])
def test_thread_count_changes_no_bit(rows: int, vocab: int) -> None:
    logits = torch.randn(rows, vocab, generator=torch.Generator().manual_seed(0))
    inputs = case(logits, torch.arange(rows) % vocab)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(run(inputs))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(results[0][key], other[key]) for key in other)


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "wider rows": lambda x: torch.cat([x, x.new_full((x.shape[0], 3), float("nan"))], 1)[:, :-3],
    "shifted": lambda x: torch.cat([x.new_full((x.shape[0], 1), float("nan")), x], 1)[:, 1:],
    "every other row": lambda x: x.repeat_interleave(2, 0)[::2],
    "transposed": lambda x: x.t().contiguous().t(),
    "every other class": lambda x: x.repeat_interleave(2, 1)[:, ::2],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("options", ["plain", "all"])
def test_strides_change_no_bit(layout: str, dtype: torch.dtype, options: str) -> None:
    dense = random_case(dtype, 117, OPTIONS[options], weighted=True)
    strided = LAYOUTS[layout](dense["logits"])
    assert strided.stride() != dense["logits"].stride() and torch.equal(strided, dense["logits"])
    target = dense["target"].repeat_interleave(3)[::3]
    weight = dense["weight"].repeat_interleave(2)[::2]
    got = run({**dense, "logits": strided, "target": target, "weight": weight})
    expected = run(dense)
    assert all(torch.equal(got[key], expected[key]) for key in expected)
    assert got["dlogits"].is_contiguous()


def test_a_repeated_row_and_an_expanded_weight_are_read_in_place() -> None:
    row = torch.randn(1, 117)
    target = torch.tensor([3, 5, 116])
    got = run(case(row.expand(3, 117), target) | {"row_weight": torch.tensor(0.25).expand(3)})
    expected = run(case(row.repeat(3, 1), target) | {"row_weight": torch.full((3,), 0.25)})
    assert all(torch.equal(got[key], expected[key]) for key in expected)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8])
def test_narrow_targets_are_converted(dtype: torch.dtype) -> None:
    inputs = case(torch.randn(3, 9), torch.tensor([0, 8, 4]))
    narrow = run({**inputs, "target": inputs["target"].to(dtype)})
    assert torch.equal(narrow["dlogits"], run(inputs)["dlogits"])


@pytest.mark.parametrize("wrong", [5, -1, 2**40, -(2**63)])
def test_a_target_out_of_range_is_named(wrong: int) -> None:
    inputs = case(torch.randn(3, 5), torch.tensor([0, wrong, -100]))
    with pytest.raises(RuntimeError, match=f"Target {wrong} is out of bounds."):
        run(inputs)


@pytest.mark.parametrize(
    "change,message",
    [
        ({"logits": torch.randn(5)}, r"logits must be \(N, V\), got shape \(5\)"),
        ({"logits": torch.ones(3, 5, dtype=torch.int32)}, "logits must be float32"),
        ({"target": torch.tensor([1, 2])}, r"target must be \(3,\), got shape \(2\)"),
        ({"row_weight": torch.ones(4)}, r"row_weight must be \(3,\), got shape \(4\)"),
        ({"weight": torch.ones(4)}, r"weight must be \(5,\), got shape \(4\)"),
    ],
)
def test_bad_shapes_and_dtypes_are_named(change: Case, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        run(case(torch.randn(3, 5), torch.tensor([0, 1, 2])) | change)


def test_a_nan_weight_reaches_the_gradient_whatever_its_bits() -> None:
    nan = torch.tensor([0x7FFFFFFF], dtype=torch.int32).view(torch.float32)
    logits = torch.randn(1, 117).bfloat16()
    got = run(case(logits, torch.tensor([3])) | {"row_weight": nan})
    assert got["dlogits"].isnan().all()


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0)])
def test_empty_input(shape: tuple[int, int]) -> None:
    got = run(case(torch.randn(shape), torch.full(shape[:1], -100)))
    assert got["total"] == 0 and got["dlogits"].shape == shape


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("factor_dtype", DTYPES, ids=str)
def test_scale_multiplies_in_place(dtype: torch.dtype, factor_dtype: torch.dtype) -> None:
    factor = torch.tensor(0.3, dtype=factor_dtype)
    for x in (torch.randn(7, 71).to(dtype), torch.randn(71, 7).to(dtype).t()):
        expected = x * factor.to(acc(dtype)).item()
        torch.ops.percbal.scale_(x, factor)
        torch.testing.assert_close(x, expected, rtol=torch.finfo(dtype).eps, atol=0)


def test_scale_by_one_writes_nothing() -> None:
    # a page that may not be written: an access would end the process
    page = torch.frombuffer(mmap.mmap(-1, 4096, prot=mmap.PROT_READ), dtype=torch.float32)
    torch.ops.percbal.scale_(page, torch.tensor(1.0))
    assert not page.any()


@pytest.mark.skipif(shutil.which("nm") is None, reason="needs binutils")
def test_the_library_needs_only_the_stable_abi() -> None:
    """Then one binary serves many versions of torch: no C++ symbol of torch is left undefined."""
    assert _C.__file__ is not None
    symbols = subprocess.run(
        ["nm", "-D", "-C", "--undefined-only", str(Path(_C.__file__))],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "torch_call_dispatcher" in symbols
    assert not [s for s in symbols.splitlines() if "at::" in s or "c10::" in s or "torch::" in s]
