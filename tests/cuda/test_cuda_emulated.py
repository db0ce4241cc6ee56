"""The CUDA cross-entropy executed on the CPU: indexing, exchanges and values, without a GPU."""

import ctypes
import math

import pytest
import torch
from cuda_emulation_build import ROOT, SCHEDULES, Emulated, Schedules, build, build_kernels
from torch import Tensor

from percbal_ops.losses import reference
from percbal_ops.losses.options import LossOptions

DTYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}  # enum Dtype


class Args(ctypes.Structure):
    """struct CrossEntropyArgs, csrc/cuda/cross_entropy.h."""

    _fields_ = [
        ("dtype", ctypes.c_int),
        ("logits", ctypes.c_void_p),
        ("rows", ctypes.c_int64),
        ("row_stride", ctypes.c_int64),
        ("classes", ctypes.c_int),
        ("target", ctypes.c_void_p),
        ("target_stride", ctypes.c_int64),
        ("row_weight", ctypes.c_void_p),
        ("row_weight_stride", ctypes.c_int64),
        ("class_weight", ctypes.c_void_p),
        ("loss", ctypes.c_void_p),
        ("grad_sq", ctypes.c_void_p),
        ("dlogits", ctypes.c_void_p),
        ("ignore_index", ctypes.c_int64),
        ("z_loss", ctypes.c_float),
    ]


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Emulated:
    return build_kernels("cross_entropy", tmp_path_factory)


def one_row_in(
    emulated: Emulated, classes: int, cluster: int, schedules: Schedules = SCHEDULES
) -> Tensor:
    """The loss of a row of equal logits; its target is in the last block of the cluster."""
    logits, target, weight = torch.zeros(1, classes), torch.tensor([classes - 1]), torch.ones(1)
    args = Args(
        0, logits.data_ptr(), 1, classes, classes, target.data_ptr(), 1, weight.data_ptr(), 1,
        None, None, None, None, -100, 0.0,
    )  # fmt: skip
    outputs = [((1,), torch.float32), ((1,), torch.float32), ((1, classes), torch.float32)]
    return emulated.run("cross_entropy", args, cluster, outputs=outputs, schedules=schedules)[0]


@pytest.mark.parametrize(
    "dtype, classes, cluster",
    [
        (torch.bfloat16, 9000, 1),  # three chunks
        (torch.float16, 2056, 2),
        (torch.float32, 12000, 2),
        (torch.bfloat16, 4000, 4),
        (torch.float16, 19208, 4),
        (torch.float32, 20, 8),  # fewer packs than blocks: some blocks hold nothing
        (torch.bfloat16, 8200, 16),
    ],
)
def test_kernel_agrees_with_float64(
    emulated: Emulated, dtype: torch.dtype, classes: int, cluster: int
) -> None:
    torch.manual_seed(0)
    rows, ignored = 6, -7
    logits = (torch.randn(rows, classes + 16) * 3).to(dtype)[:, :classes]
    logits[1, : classes // 2] = -torch.inf
    logits[2, 9] = 24.0  # nearly certain
    logits[3, 3] = torch.nan
    target = torch.tensor([classes - 1, classes - 2, 9, 0, ignored, classes])
    row_weight, weight = torch.randn(2 * rows)[::2], torch.rand(classes) + 0.1
    z_loss = 1e-3
    args = Args(
        DTYPES[dtype], logits.data_ptr(), rows, logits.stride(0), classes,
        target.data_ptr(), target.stride(0), row_weight.data_ptr(), row_weight.stride(0),
        weight.data_ptr(), None, None, None, ignored, z_loss,
    )  # fmt: skip
    outputs = [((rows,), torch.float32), ((rows,), torch.float32), ((rows, classes), dtype)]
    loss, grad_sq, dlogits = emulated.run("cross_entropy", args, cluster, outputs=outputs)
    # the last target is out of range: NaN by the kernel's own rule, an error in the reference
    inside = (logits[:5].double(), target[:5])
    options = LossOptions(weight.double(), ignored, z_loss=z_loss)
    true_loss, true_sq, _ = reference.token_cross_entropy(*inside, *options)
    true_dlogits = reference.logit_gradient(row_weight[:5].double(), *inside, options)
    same = {"atol": 0.0, "equal_nan": True}
    torch.testing.assert_close(loss[:5].double(), true_loss, rtol=2e-6, **same)
    torch.testing.assert_close(grad_sq[:5].double(), true_sq, rtol=4e-6, **same)
    rtol = max(2 * torch.finfo(dtype).eps, 2e-5)
    atol = torch.finfo(dtype).tiny if dtype != torch.float16 else 1e-7
    torch.testing.assert_close(
        dlogits[:5].double(), true_dlogits, rtol=rtol, atol=atol, equal_nan=True
    )
    assert loss[5].isnan() and dlogits[5].isnan().all()
    assert loss[4] == 0 and not dlogits[4].any()
    packed = logits.contiguous()
    args.logits, args.row_stride = packed.data_ptr(), classes
    over = emulated.run("cross_entropy_in_place", args, cluster, outputs=outputs)
    for ours, expected in zip(over, (loss, grad_sq, dlogits), strict=True):
        assert torch.equal(ours.view(torch.uint8), expected.view(torch.uint8))


@pytest.mark.parametrize("asked, taken", [("2", 2), ("16", 16), ("0", 4), ("1", 1)])
def test_size_of_the_cluster_can_be_asked_for(
    emulated: Emulated, monkeypatch: pytest.MonkeyPatch, asked: str, taken: int
) -> None:
    """By a process that has launched clusters of another size, too."""
    monkeypatch.setenv("PERCBAL_CLUSTER_BLOCKS", asked)
    assert one_row_in(emulated, 400, 4).item() == pytest.approx(math.log(400), rel=1e-6)
    assert emulated.number("blocks_in_cluster") == taken


def test_cluster_that_does_not_exist_is_refused(
    emulated: Emulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERCBAL_CLUSTER_BLOCKS", "3")
    with pytest.raises(AssertionError, match="no cluster of blocks can hold a row"):
        one_row_in(emulated, 400, 4)


NEEDED = {  # what the kernel must do: what is noticed where it does not
    "cluster_wait();": "sends before it has waited|set up and published",
    "cluster_arrive();": "without having arrived",
    "publish_barriers();": "set up and published",
    "__syncthreads();  // the barriers": "set up and published",
    "expect_bytes(&arrived[i], bytes);": "never come",
    "expect_bytes(&told, blocks * sizeof(Share));": "never come",
    "wait_for_bytes(&arrived[i]);": "depends on which|before its bytes",
    "wait_for_cluster_bytes(&told);": "depends on which|before its bytes",
    "publish_to_copies();": "not published",
    "finish_stores();": "leaves while",
}


@pytest.fixture(scope="module")
def incomplete(tmp_path_factory: pytest.TempPathFactory) -> Emulated:
    """leave_out(i): the kernel then runs without statement i of NEEDED."""
    source = (ROOT / "csrc" / "cuda" / "cross_entropy.cu").read_text()
    for i, statement in enumerate(NEEDED):
        assert source.count(statement) == 1
        source = source.replace(statement, f"if (left_out != {i}) {statement}")
    source = (
        "#include <cstdint>\nstatic int64_t left_out = -1;\n"
        'extern "C" void leave_out(int64_t statement) { left_out = statement; }\n'
    ) + source
    path = tmp_path_factory.mktemp("incomplete") / "cross_entropy.cu"
    path.write_text(source)
    return build(path, tmp_path_factory)


@pytest.mark.parametrize("statement", NEEDED)
def test_missing_step_of_the_exchange_is_noticed(incomplete: Emulated, statement: str) -> None:
    incomplete.number("leave_out", list(NEEDED).index(statement))
    with pytest.raises(AssertionError, match=NEEDED[statement]):
        one_row_in(incomplete, 4800, 4)
    incomplete.number("leave_out", -1)
    assert one_row_in(incomplete, 4800, 4).item() == pytest.approx(math.log(4800), rel=1e-6)
