"""The Triton kernels against float64, with PyTorch's own error as the budget.

They run on a GPU where there is one and TRITON_INTERPRET is unset, else under Triton's interpreter.
"""

import os
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

pytest.importorskip("triton")

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
if not (INTERPRETED or torch.cuda.is_available()):
    pytest.skip("Triton needs a GPU or TRITON_INTERPRET=1", allow_module_level=True)

from percbal_ops.losses import reference  # noqa: E402
from percbal_ops.losses.options import LossOptions  # noqa: E402
from percbal_ops.losses.triton import launch as kernels  # noqa: E402

DEVICE = "cpu" if INTERPRETED else "cuda"
IGNORE = -100
INF, NAN = float("inf"), float("nan")
F16, BF16, F32, F64 = torch.float16, torch.bfloat16, torch.float32, torch.float64


class Options(NamedTuple):
    """The options of the operators, in their order."""

    ignore_index: int = IGNORE
    label_smoothing: float = 0.0
    z_loss: float = 0.0
    softcap: float = 0.0


PLAIN = Options()
EVERYTHING = Options(label_smoothing=0.1, z_loss=1e-3, softcap=5.0)


class Case(NamedTuple):
    """Inputs of one call; `make` gives the logits, and the targets if they are not to be random."""

    name: str
    make: Callable[[], Tensor | tuple[Tensor, Tensor]]
    dtype: torch.dtype = F32
    options: Options = PLAIN
    weighted: bool = False


def randn(rows: int, vocab: int, spread: float = 3.0) -> Callable[[], Tensor]:
    return lambda: torch.randn(rows, vocab) * spread


def peaked() -> tuple[Tensor, Tensor]:
    """1 - p_y from 1e-3 to below 1e-8: where PyTorch's loss loses its digits."""
    logits = torch.randn(5, 1000)
    target = torch.tensor([0, 17, 998, 999, 500])
    logits[torch.arange(5), target] = torch.tensor([14.0, 18.0, 22.0, 26.0, 30.0])
    return logits, target


def with_holes() -> tuple[Tensor, Tensor]:
    """-inf where a mask forbids classes: scattered, a whole first tile, all others, the target."""
    logits = torch.randn(5, 9001)
    logits[0, ::3] = -INF
    logits[1, :8200] = -INF
    logits[2, 1:] = -INF
    logits[3, 7] = -INF
    logits[4, 8200:] = -INF
    return logits, torch.tensor([1, 9000, 0, 7, 3])


def adversarial() -> tuple[Tensor, Tensor]:
    """All equal; huge and far apart; huge and close; one giant; growing along the row."""
    logits = torch.zeros(5, 4100)
    logits[1] = torch.randn(4100) * 1e4
    logits[2] = torch.randn(4100) + 1e4
    logits[3, 4099] = 3e38
    logits[4] = torch.linspace(-50, 50, 4100)
    return logits, torch.tensor([5, 6, 7, 8, 4099])


def slice_of_rows() -> Tensor:
    """Rows that start anywhere: a view with an odd stride and an odd offset."""
    return (torch.randn(4, 1031) * 3)[:, 5:1009]


CASES = [
    Case("aligned", randn(3, 1024)),
    Case("aligned, tiles", randn(2, 8192), BF16),
    Case("odd, one tile", randn(3, 997), F16),
    Case("odd, tiles", randn(3, 9001), BF16),
    Case("GPT-2's vocabulary", randn(2, 50257), BF16),
    Case("one class", randn(2, 1)),
    Case("two classes", randn(3, 2)),
    Case("float64", randn(3, 3001), F64),
    Case("float64, everything", randn(3, 3001), F64, EVERYTHING, True),
    Case("peaked", peaked),
    Case("peaked, bf16", peaked, BF16),
    Case("holes", with_holes),
    Case("adversarial", adversarial),
    Case("slice", slice_of_rows),
    Case("slice, bf16", slice_of_rows, BF16),
    Case("one row seen as three", lambda: torch.randn(1, 500).expand(3, 500)),
    Case("columns apart", lambda: (torch.randn(300, 3) * 3).T, BF16),
    Case("class weights", randn(3, 1000), F32, PLAIN, True),
    Case("smoothing", randn(3, 5000), F32, Options(label_smoothing=0.1)),
    Case("smoothing, weights", randn(3, 5000), F32, Options(label_smoothing=0.3), True),
    Case("only smoothing", randn(3, 500), F32, Options(label_smoothing=1.0)),
    Case("smoothing, peaked", peaked, F32, Options(label_smoothing=0.1)),
    Case("smoothing, adversarial", adversarial, F32, Options(label_smoothing=0.1)),
    Case("z-loss", randn(3, 1000), F32, Options(z_loss=1e-2)),
    # Padding capped like a logit would add exp(-cap) per missing column.
    Case("softcap, padded tile", randn(3, 33), F32, Options(softcap=2.0)),
    Case("softcap", randn(3, 1000, 20.0), BF16, Options(softcap=30.0)),
    Case("everything", randn(3, 5001), F32, EVERYTHING, True),
    Case("everything, bf16", randn(2, 4096), BF16, EVERYTHING, True),
]


class Inputs(NamedTuple):
    """What a case expands to."""

    logits: Tensor
    target: Tensor
    weight: Tensor | None
    options: Options

    def in_dtype(self, dtype: torch.dtype) -> "Inputs":
        weight = None if self.weight is None else self.weight.to(dtype)
        return self._replace(logits=self.logits.to(dtype), weight=weight)


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def inputs(request: pytest.FixtureRequest) -> Inputs:
    torch.manual_seed(0)
    case = request.param
    made = case.make()
    logits, target = made if isinstance(made, tuple) else (made, None)
    rows, vocab = logits.shape
    if target is None:
        target = torch.randint(vocab, (rows,))
        if rows > 2:
            target[1] = IGNORE
    weight = None
    if case.weighted:
        weight = torch.rand(vocab, dtype=reference.accumulate_dtype(logits.to(case.dtype)))
        weight[::5] = 0.0
        weight = weight.to(DEVICE)
    if case.dtype in (F16, BF16):  # keeps strides and values that the type can hold
        logits = logits.clamp(-6e4, 6e4)
    moved = torch.empty_strided(logits.shape, logits.stride(), dtype=case.dtype, device=DEVICE)
    if 0 in logits.stride():
        moved = logits[:1].to(DEVICE, case.dtype).expand(logits.shape)
    else:
        moved.copy_(logits)
    return Inputs(moved, target.to(DEVICE), weight, case.options)


def textbook(inputs: Inputs, row_grad: Tensor) -> tuple[Tensor, Tensor]:
    """Loss per row and gradient as a user writes them in PyTorch; sets the error budget."""
    logits = inputs.logits.detach().clone().requires_grad_()
    options = inputs.options
    u = options.softcap * torch.tanh(logits / options.softcap) if options.softcap else logits
    loss = F.cross_entropy(
        u,
        inputs.target,
        inputs.weight,
        reduction="none",
        ignore_index=options.ignore_index,
        label_smoothing=options.label_smoothing,
    )
    if options.z_loss:
        counted = inputs.target != options.ignore_index
        loss = loss + torch.where(counted, options.z_loss * u.logsumexp(1) ** 2, 0.0)
    loss.backward(row_grad)
    return loss.detach(), logits.grad


def assert_within_budget(ours: Tensor, torchs: Tensor, truth: Tensor, ulps: float = 8.0) -> None:
    """Every row within twice PyTorch's own error plus a few units in the last place of the row."""
    ours, torchs, truth = (x.double().reshape(x.shape[0], -1) for x in (ours, torchs, truth))
    finite = truth.isfinite()
    torch.testing.assert_close(ours[~finite], truth[~finite], equal_nan=True)
    zero = torch.zeros_like(truth)
    error = torch.where(finite, (ours - truth).abs(), zero).amax(1)
    allowed = torch.where(finite, (torchs - truth).abs(), zero).amax(1)
    size = torch.where(finite, truth.abs(), zero).amax(1)
    within = (error <= 2 * allowed + ulps * size) | (allowed == INF)
    assert within.all(), f"rows {(~within).nonzero().tolist()}: {error} > {allowed}, size {size}"


def truth_of(inputs: Inputs, row_grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    exact = inputs.in_dtype(F64)
    rows, options = (exact.logits, exact.target), LossOptions(exact.weight, *exact.options)
    loss, grad_sq, _ = reference.token_cross_entropy(*rows, *options)
    return loss, grad_sq, reference.logit_gradient(row_grad.double(), *rows, options)


def row_gradients(inputs: Inputs, expanded: bool) -> Tensor:
    dtype = reference.accumulate_dtype(inputs.logits)
    rows = inputs.target.shape[0]
    if expanded:
        return torch.tensor(0.37, dtype=dtype, device=DEVICE).expand(rows)
    return torch.randn(2 * rows, dtype=dtype, device=DEVICE)[::2]


@pytest.mark.parametrize("expanded", [False, True], ids=["per token", "expanded"])
def test_token_operator_is_as_exact_as_torch(inputs: Inputs, expanded: bool) -> None:
    row_grad = row_gradients(inputs, expanded)
    before = inputs.logits.clone()
    args = (inputs.logits, inputs.target, inputs.weight)
    loss, grad_sq, stats = kernels.token_cross_entropy(*args, *inputs.options)
    dlogits = kernels.token_cross_entropy_backward(row_grad, *args, stats, *inputs.options)
    true_loss, true_sq, true_dlogits = truth_of(inputs, row_grad)
    work = reference.accumulate_dtype(inputs.logits)
    torch_loss, torch_dlogits = textbook(inputs.in_dtype(work), row_grad)
    ulp, grad_ulp = torch.finfo(work).eps, torch.finfo(inputs.logits.dtype).eps
    assert_within_budget(loss, torch_loss, true_loss, 8 * ulp)
    assert_within_budget(dlogits, torch_dlogits.to(dlogits.dtype), true_dlogits, 8 * grad_ulp)
    torch.testing.assert_close(grad_sq.double().sqrt(), true_sq.sqrt(), rtol=2e-5, atol=1e-37)
    assert loss.dtype == grad_sq.dtype == stats.dtype == work
    assert dlogits.dtype == inputs.logits.dtype and dlogits.is_contiguous()
    torch.testing.assert_close(inputs.logits, before, rtol=0, atol=0, equal_nan=True)


def test_weighted_operator_agrees_with_the_token_operator(inputs: Inputs) -> None:
    row_weight = row_gradients(inputs, False)
    args = (inputs.logits, inputs.target)
    token = kernels.token_cross_entropy(*args, inputs.weight, *inputs.options)
    dlogits = kernels.token_cross_entropy_backward(
        row_weight, *args, inputs.weight, token[2], *inputs.options
    )
    call = (*args, row_weight, inputs.weight, *inputs.options)
    with_grad = kernels.weighted_cross_entropy(*call, True)
    without = kernels.weighted_cross_entropy(*call, False)
    valid = inputs.target != IGNORE
    total = reference.weighted_sum(row_weight, token[0], valid)
    for got in (with_grad, without):
        torch.testing.assert_close(got[0], total, rtol=1e-6, atol=1e-12, equal_nan=True)
    same = {"rtol": 0, "atol": 0, "equal_nan": True}
    torch.testing.assert_close(without[1:3], token[:2], **same)
    assert without[3].numel() == 0
    torch.testing.assert_close(with_grad[1:3], token[:2], **same)
    # The gradient is made by two kernels, in which a compiler may fuse different operations; and
    # values that nearly round alike may not.
    ulps = 8 * torch.finfo(token[0].dtype).eps
    rtol = max(ulps, torch.finfo(dlogits.dtype).eps)
    torch.testing.assert_close(with_grad[3], dlogits, rtol=rtol, atol=0, equal_nan=True)


def test_in_place_operator_writes_the_same_gradient_over_the_logits(inputs: Inputs) -> None:
    row_weight = row_gradients(inputs, True)
    rest = (inputs.target, row_weight, inputs.weight, *inputs.options)
    logits = inputs.logits.clone(memory_format=torch.contiguous_format)
    expected = kernels.weighted_cross_entropy(logits, *rest, True)
    got = (*kernels.weighted_cross_entropy_(logits, *rest), logits)
    torch.testing.assert_close(got, expected[1:], rtol=0, atol=0, equal_nan=True)


def test_in_place_operator_refuses_logits_with_gaps() -> None:
    logits = torch.zeros(2, 10, device=DEVICE)[:, :9]
    target, row_weight = torch.zeros(2, dtype=torch.long, device=DEVICE), logits[:, 0]
    with pytest.raises(ValueError, match="contiguous to be written in place, got shape \\(2, 9\\)"):
        kernels.weighted_cross_entropy_(logits, target, row_weight, None, *PLAIN)


def test_peaked_rows_keep_six_digits() -> None:
    logits, target = (x.to(DEVICE) for x in peaked())
    loss, grad_sq, _ = kernels.token_cross_entropy(logits, target, None, *PLAIN)
    true_loss, true_sq, _ = reference.token_cross_entropy(logits.double(), target, None, *PLAIN)
    assert true_loss.min() < 1e-8
    torch.testing.assert_close(loss.double(), true_loss, rtol=4e-6, atol=0)
    torch.testing.assert_close(grad_sq.double(), true_sq, rtol=8e-6, atol=0)


def test_ignored_rows_are_zero_and_never_read() -> None:
    logits = torch.full((3, 70), NAN, device=DEVICE)
    logits[1] = 0.0
    target = torch.tensor([IGNORE, 4, IGNORE], device=DEVICE)
    row_weight = torch.ones(3, device=DEVICE)
    total, loss, grad_sq, dlogits = kernels.weighted_cross_entropy(
        logits, target, row_weight, None, *EVERYTHING, True
    )
    for result in (total, loss, grad_sq, dlogits):
        assert result.isfinite().all()
    assert loss[[0, 2]].tolist() == [0.0, 0.0] and not dlogits[[0, 2]].any()
    stats = kernels.token_cross_entropy(logits, target, None, *PLAIN)[2]
    again = kernels.token_cross_entropy_backward(row_weight, logits, target, None, stats, *PLAIN)
    assert not stats[[0, 2]].any() and not again[[0, 2]].any()


@pytest.mark.parametrize("bad", [-1, 50, 2**40])
def test_target_out_of_range_makes_its_own_row_nan(bad: int) -> None:
    logits = torch.randn(3, 50, device=DEVICE)
    target = torch.tensor([3, bad, 4], device=DEVICE)
    row_weight, weight = torch.ones(3, device=DEVICE), torch.ones(50, device=DEVICE)
    total, loss, _, dlogits = kernels.weighted_cross_entropy(
        logits, target, row_weight, weight, *PLAIN, True
    )
    assert loss.isnan().tolist() == [False, True, False] and total.isnan()
    assert dlogits.isnan().all(1).tolist() == [False, True, False]


@pytest.mark.parametrize("value", [INF, NAN])
@pytest.mark.parametrize("place", [5, 6])
def test_inf_and_nan_make_the_loss_nan_as_in_torch(value: float, place: int) -> None:
    logits = torch.randn(2, 5000, device=DEVICE)
    logits[0, place] = value
    target = torch.tensor([5, 5], device=DEVICE)
    loss, grad_sq, _ = kernels.token_cross_entropy(logits, target, None, *PLAIN)
    assert loss.isnan().tolist() == [True, False]
    assert F.cross_entropy(logits, target, reduction="none").isnan().tolist() == [True, False]
    expected = reference.token_cross_entropy(logits.double(), target, None, *PLAIN)[1]
    torch.testing.assert_close(grad_sq.double(), expected, rtol=2e-5, atol=0, equal_nan=True)


def test_targets_may_be_int32_and_strided() -> None:
    logits = torch.randn(3, 40, device=DEVICE)
    wide = torch.tensor([[1, 0], [IGNORE, 0], [39, 0]], dtype=torch.int32, device=DEVICE)
    ours = kernels.token_cross_entropy(logits, wide[:, 0], None, *PLAIN)
    same = kernels.token_cross_entropy(logits, wide[:, 0].long().contiguous(), None, *PLAIN)
    torch.testing.assert_close(ours, same, rtol=0, atol=0)


def test_offsets_beyond_32_bits() -> None:
    """Row 2 begins at element 2^31 + 32 of a buffer of which only the rows are ever touched."""
    stride, vocab = 2**30 + 16, 48
    buffer = torch.empty(2 * stride + vocab, dtype=F16, device=DEVICE)
    logits = buffer.as_strided((3, vocab), (stride, 1))
    logits.copy_(torch.randn(3, vocab))
    target, row_weight = torch.tensor([1, 2, 3], device=DEVICE), torch.ones(3, device=DEVICE)
    rest = (target, row_weight, None, *PLAIN, True)
    far = kernels.weighted_cross_entropy(logits, *rest)
    packed = logits.clone(memory_format=torch.contiguous_format)
    near = kernels.weighted_cross_entropy(packed, *rest)
    torch.testing.assert_close(far, near, rtol=0, atol=0)


def test_results_repeat_bit_for_bit() -> None:
    logits = torch.randn(8, 3000, device=DEVICE)
    target = torch.randint(3000, (8,), device=DEVICE)
    call = (logits, target, torch.rand(8, device=DEVICE), None, *PLAIN, True)
    first, second = (kernels.weighted_cross_entropy(*call) for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_no_rows_at_all() -> None:
    logits = torch.empty(0, 40, device=DEVICE)
    target, row_weight = torch.empty(0, dtype=torch.long, device=DEVICE), logits.new_empty(0)
    total, loss, _, dlogits = kernels.weighted_cross_entropy(
        logits, target, row_weight, None, *PLAIN, True
    )
    assert total.item() == 0.0 and loss.shape == (0,) and dlogits.shape == (0, 40)
    stats = kernels.token_cross_entropy(logits, target, None, *PLAIN)[2]
    again = kernels.token_cross_entropy_backward(row_weight, logits, target, None, stats, *PLAIN)
    assert again.shape == (0, 40)
