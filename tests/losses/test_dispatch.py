"""What serves a call is what we say serves it."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

import percbal_ops
from percbal_ops.losses import library, reference

OPS = ("token_cross_entropy", "token_cross_entropy_backward", "weighted_cross_entropy", "scale_")
needs_cpp = pytest.mark.skipif(
    percbal_ops.implementation("weighted_cross_entropy", "cpu") != "cpp",
    reason="the C++ operators are not built",
)


def batch():
    return torch.randn(4, 9, requires_grad=True), torch.tensor([0, 3, 8, -100])


@needs_cpp
@pytest.mark.parametrize("op", OPS)
def test_cpp_is_registered_for_every_operator(op):
    assert percbal_ops.implementation(op, "cpu") == "cpp"


@needs_cpp
def test_cpp_serves_cpu_calls_and_the_reference_never_runs():
    """In a process of its own: the registration keeps the functions that it was given."""
    program = """
import torch
from percbal_ops.losses import reference
def never(*_): raise AssertionError("the reference ran")
for name in ("token_cross_entropy", "token_cross_entropy_backward", "weighted_cross_entropy",
             "scale_", "logit_gradient", "_rows"):
    setattr(reference, name, never)
import percbal_ops
x, t = torch.randn(4, 9, requires_grad=True), torch.tensor([0, 3, 8, -100])
percbal_ops.cross_entropy(x, t).backward(torch.tensor(0.5))
percbal_ops.cross_entropy(x, t, reduction="none").sum().backward()
percbal_ops.segment_cross_entropy(x, t, torch.tensor([0, 1, 1, 0]), torch.ones(2)).loss.backward()
print("served")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "served", done.stderr


def test_the_reference_serves_where_nothing_is_compiled():
    program = """
import sys
sys.modules["percbal_ops._C"] = None
import torch, percbal_ops
assert percbal_ops.implementation("weighted_cross_entropy", "cpu") == "reference"
x, t = torch.randn(4, 9, requires_grad=True), torch.tensor([0, 3, 8, -100])
percbal_ops.cross_entropy(x, t).backward()
torch.testing.assert_close(x.grad[3], torch.zeros(9))
print("served")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "served", done.stderr


def test_cuda_calls_go_to_cpp_where_it_is_built_on_hopper_else_to_triton(
    monkeypatch: pytest.MonkeyPatch,
):
    built = hasattr(torch.ops.percbal_cuda, "weighted_cross_entropy_out")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for capability, cpp in (((8, 0), False), ((9, 0), built), ((10, 0), False)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda c=capability: c)
        for op in ("weighted_cross_entropy", "weighted_cross_entropy_"):
            assert percbal_ops.implementation(op, "cuda") == ("cuda" if cpp else "triton")
        assert percbal_ops.implementation("token_cross_entropy", "cuda") == "triton"
    kernels = library.cuda_kernels()
    name = "hopper" if built else "launch"
    assert kernels.__name__ == f"percbal_ops.losses.triton.{name}"
    with percbal_ops.use_cuda_backend("triton"):
        assert library.cuda_kernels().__name__ == "percbal_ops.losses.triton.launch"
    with percbal_ops.use_cuda_backend("reference"):
        assert library.cuda_kernels() is reference
        assert percbal_ops.implementation("weighted_cross_entropy", "cuda") == "reference"
    assert library.cuda_kernels() is kernels


def test_operators_that_have_one_implementation_are_not_called_triton():
    """Nor is what is no operator, or no device of ours."""
    assert percbal_ops.implementation("vocab_parallel_rows", "cuda") == "reference"
    assert percbal_ops.implementation("group_advantage", "cuda") in ("cuda", "reference")
    assert percbal_ops.implementation("token_logprob_rows", "cuda") in ("triton", "reference")
    with pytest.raises(ValueError, match="op must be an operator .* got 'segment_cross_entropy'"):
        percbal_ops.implementation("segment_cross_entropy", "cpu")
    with pytest.raises(ValueError, match="op must be an operator .* got 'name'"):
        percbal_ops.implementation("name", "cpu")
    with pytest.raises(ValueError, match="device must be 'cpu' or 'cuda', got 'gpu'"):
        percbal_ops.implementation("scale_", "gpu")


@pytest.mark.parametrize(
    "shape, dtype, takes",
    [
        ((2, 8200), torch.bfloat16, True),
        ((2, 8192), torch.bfloat16, False),  # as short as Triton serves as well
        ((2, 50257), torch.bfloat16, False),  # ends anywhere
        ((2, 50260), torch.float32, True),
        ((2, 50264), torch.float64, False),
        ((2, 786432), torch.float16, True),  # what eight blocks hold
        ((2, 786440), torch.float16, False),
        ((2, 393220), torch.float32, False),
    ],
)
def test_rows_that_the_cpp_kernel_takes(shape, dtype, takes):
    pytest.importorskip("triton")
    from percbal_ops.losses.triton.hopper import takes_rows

    logits = torch.empty(shape, dtype=dtype)
    assert takes_rows(logits) == takes
    assert not takes_rows(logits[:, 1:]) and not takes_rows(logits.t())


def test_the_in_place_operator_has_a_kernel_of_its_own_on_cuda():
    name = "percbal::weighted_cross_entropy_"
    assert torch._C._dispatch_has_kernel_for_dispatch_key(name, "CUDA")
    assert hasattr(library.cuda_kernels(), "weighted_cross_entropy_")


@pytest.mark.parametrize("options", [(-100, 0.0, 0.0, 0.0), (-100, 0.1, 1e-3, 5.0)])
def test_a_backward_may_be_served_by_another_backend_than_its_forward(options):
    """As where a block of `use_cuda_backend` ends between them."""
    pytest.importorskip("triton")
    from percbal_ops.losses.triton import launch

    logits, target = batch()
    logits, row_grad = logits.detach(), torch.tensor([1.0, -2.0, 0.5, 3.0])
    weight = torch.linspace(0.5, 2, 9)
    truth = reference.logit_gradient(
        row_grad, logits, target, reference.LossOptions(weight, *options)
    )
    for first, second in ((reference, launch), (launch, reference)):
        stats = first.token_cross_entropy(logits, target, weight, *options)[2]
        given = (row_grad, logits, target, weight, stats, *options)
        torch.testing.assert_close(second.token_cross_entropy_backward(*given), truth)


def test_unknown_backend_is_named():
    with pytest.raises(ValueError, match="unknown CUDA backend 'cutlass'; known are"):
        with percbal_ops.use_cuda_backend("cutlass"):
            pass
