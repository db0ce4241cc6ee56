"""percbal_ops.cross_entropy is F.cross_entropy: every sample, gradient, error and corner."""

from __future__ import annotations

import pytest
import torch
import torch._dynamo.testing
import torch.nn.functional as F
from accuracy import assert_within_budget
from torch.testing._internal.common_methods_invocations import op_db

from percbal_ops import cross_entropy, segment_cross_entropy

OPINFO = next(op for op in op_db if op.name == "nn.functional.cross_entropy")


def make(shape, classes, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
    sites = shape[:1] + shape[2:] if len(shape) > 1 else ()
    return logits.requires_grad_(), torch.randint(0, classes, sites, generator=generator)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_every_opinfo_sample_of_torch(dtype):
    count = 0
    for sample in OPINFO.sample_inputs("cpu", dtype, requires_grad=True):
        count += 1
        logits = sample.input.detach().requires_grad_()
        expected = F.cross_entropy(logits, *sample.args, **sample.kwargs)
        up = torch.linspace(-1, 2, expected.numel(), dtype=dtype).reshape(expected.shape)
        (expected_grad,) = torch.autograd.grad(expected, logits, up)
        ours = cross_entropy(logits, *sample.args, **sample.kwargs)
        (grad,) = torch.autograd.grad(ours, logits, up)
        assert ours.dtype == expected.dtype and ours.shape == expected.shape
        torch.testing.assert_close(ours, expected, equal_nan=True)
        torch.testing.assert_close(grad, expected_grad, equal_nan=True)
    assert count > 20


@pytest.mark.parametrize("shape", [(5,), (4, 5), (3, 5, 2), (2, 5, 3, 2), (2, 5, 1, 2, 3)])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_classes_in_dimension_one_of_any_shape(shape, reduction):
    logits, target = make(shape, 5, torch.float64)
    expected = F.cross_entropy(logits, target, reduction=reduction)
    ours = cross_entropy(logits, target, reduction=reduction)
    torch.testing.assert_close(ours, expected)
    up = torch.rand(expected.shape, dtype=torch.float64)
    for a, b in zip(
        torch.autograd.grad(ours, logits, up),
        torch.autograd.grad(expected, logits, up),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_probability_targets_and_class_weights():
    logits, _ = make((6, 9), 9)
    target, weight = torch.rand(6, 9).softmax(1), torch.rand(9)
    for reduction in ("mean", "sum", "none"):
        options = dict(weight=weight, reduction=reduction, label_smoothing=0.2)
        torch.testing.assert_close(
            cross_entropy(logits, target, **options), F.cross_entropy(logits, target, **options)
        )


def test_autocast_takes_class_weights_of_float32():
    logits, target = make((6, 9), 9)
    weight = torch.linspace(0.5, 2, 9)
    with torch.autocast("cpu", torch.bfloat16):
        low = logits.bfloat16()
        ours, expected = (f(low, target, weight) for f in (cross_entropy, F.cross_entropy))
        torch.testing.assert_close(ours, expected)
        for loss in (cross_entropy, F.cross_entropy):  # it leaves float64 alone
            with pytest.raises(RuntimeError, match="expected scalar type Double but found Float"):
                loss(logits.double(), target, weight)


def test_legacy_reduction_arguments():
    logits, target = make((6, 9), 9)
    with pytest.warns(UserWarning, match="reduction='sum'"):
        ours = cross_entropy(logits, target, size_average=False)
    torch.testing.assert_close(ours, F.cross_entropy(logits, target, reduction="sum"))


def test_all_ignored_mean_is_nan_with_zero_gradient():
    logits, _ = make((3, 7), 7)
    target = torch.full((3,), -100)
    loss = cross_entropy(logits, target)
    assert loss.isnan()
    loss.backward()
    assert torch.equal(logits.grad, torch.zeros_like(logits))
    assert cross_entropy(logits, target, reduction="sum") == 0
    empty = cross_entropy(torch.empty(0, 7, requires_grad=True), torch.empty(0, dtype=torch.long))
    assert empty.isnan()


def wrong_calls():
    logits, target = torch.randn(3, 7), torch.tensor([0, 1, 2])
    yield "target shape", logits, torch.zeros(4, dtype=torch.long), {}
    yield "spatial shape", torch.randn(3, 7, 2), torch.zeros(3, 3, dtype=torch.long), {}
    yield "integer logits", torch.ones(3, 7, dtype=torch.long), target, {}
    yield "float index target", logits, torch.zeros(3), {}
    yield "int32 target", logits, target.int(), {}
    yield "weight size", logits, target, dict(weight=torch.ones(6))
    yield "weight dtype", logits, target, dict(weight=torch.ones(7, dtype=torch.float64))
    yield "reduction", logits, target, dict(reduction="average")
    yield "smoothing", logits, target, dict(label_smoothing=1.5)
    yield "target too large", logits, torch.tensor([0, 7, 1]), {}
    yield "target negative", logits, torch.tensor([0, -1, 1]), {}
    yield "0-d logits", torch.tensor(1.0), torch.tensor(0), {}


@pytest.mark.parametrize(
    "logits, target, options", [pytest.param(*call[1:], id=call[0]) for call in wrong_calls()]
)
def test_errors_are_torchs_own(logits, target, options):
    with pytest.raises(Exception) as theirs:
        F.cross_entropy(logits, target, **options)
    with pytest.raises(type(theirs.value)) as ours:
        cross_entropy(logits, target, **options)
    assert str(ours.value).split("\n")[0] == str(theirs.value).split("\n")[0]


def upstreams(n):
    yield "unit", torch.ones(n)
    yield "scaled", torch.full((n,), 0.125)
    yield "per token", torch.linspace(-2, 3, n)
    yield "expanded", torch.tensor(0.3).expand(n)
    yield "strided", torch.linspace(-2, 3, 2 * n)[::2]


@pytest.mark.parametrize("up", [pytest.param(up, id=name) for name, up in upstreams(6)])
def test_any_upstream_gradient(up):
    logits, target = make((6, 50), 50)
    (ours,) = torch.autograd.grad(cross_entropy(logits, target, reduction="none"), logits, up)
    (expected,) = torch.autograd.grad(F.cross_entropy(logits, target, reduction="none"), logits, up)
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_backward_can_run_twice_over_one_graph(reduction):
    logits, target = make((6, 50), 50)
    loss = cross_entropy(logits, target, reduction=reduction).sum()
    (first,) = torch.autograd.grad(loss, logits, torch.tensor(2.0), retain_graph=True)
    kept = first.clone()
    (second,) = torch.autograd.grad(loss, logits, torch.tensor(-1.0), retain_graph=True)
    (third,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(second, -0.5 * kept)
    torch.testing.assert_close(third, 0.5 * kept)
    assert torch.equal(first, kept), "a later backward wrote over an earlier gradient"


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("upstream", [1.0, 0.5])
def test_callers_logits_and_upstream_are_never_written(reduction, upstream):
    logits, target = make((6, 50), 50)
    target[2] = -100
    before, version = logits.detach().clone(), logits._version
    loss = cross_entropy(logits, target, reduction=reduction)
    up = torch.full_like(loss, upstream)
    loss.backward(up)
    with torch.no_grad():
        cross_entropy(logits, target, reduction=reduction)
    assert torch.equal(logits, before) and logits._version == version
    assert torch.equal(up, torch.full_like(up, upstream))


def test_first_and_second_derivatives():
    logits, target = make((4, 6), 6, torch.float64)
    target[1] = -100
    weight = torch.rand(6, dtype=torch.float64)
    for reduction in ("mean", "none"):

        def loss(x, reduction=reduction):
            return cross_entropy(x, target, weight, reduction=reduction, label_smoothing=0.1)

        assert torch.autograd.gradcheck(loss, logits)
        assert torch.autograd.gradgradcheck(loss, logits)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_compiles_into_one_graph_without_recompiling_for_more_tokens(reduction):
    torch._dynamo.reset()
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")

    @torch.compile(fullgraph=True, dynamic=True, backend=counter)
    def loss(x, t):
        return cross_entropy(x, t, reduction=reduction).sum()

    compiled = set()
    for rows in (6, 9, 14):
        logits, target = make((rows, 50), 50)
        (ours,) = torch.autograd.grad(loss(logits, target), logits, torch.tensor(0.7))
        expected = F.cross_entropy(logits, target, reduction=reduction).sum()
        (theirs,) = torch.autograd.grad(expected, logits, torch.tensor(0.7))
        torch.testing.assert_close(ours, theirs)
        compiled.add(counter.frame_count)
    assert len(compiled) == 1, "compiled again for another number of tokens"


def test_compiles_with_inductor():
    torch._dynamo.reset()
    logits, target = make((6, 50), 50)
    loss = torch.compile(lambda x, t: cross_entropy(2 * x, t), fullgraph=True)(logits, target)
    (ours,) = torch.autograd.grad(loss, logits)
    (expected,) = torch.autograd.grad(F.cross_entropy(2 * logits, target), logits)
    torch.testing.assert_close(ours, expected)


def test_autocast_gives_a_float32_loss():
    logits, target = make((6, 50), 50, torch.bfloat16)
    assert cross_entropy(logits, target).dtype == torch.bfloat16
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = cross_entropy(logits, target)
        assert loss.dtype == F.cross_entropy(logits, target).dtype == torch.float32
    loss.backward()
    assert logits.grad.dtype == torch.bfloat16


def test_no_gradient_is_computed_where_none_is_wanted():
    logits, target = make((6, 50), 50)
    with torch.no_grad():
        loss = cross_entropy(logits, target)
    assert not loss.requires_grad
    torch.testing.assert_close(loss, F.cross_entropy(logits, target).detach())


def test_confident_tokens_keep_their_digits():
    """Random logits do not see it: at 1 - p = 1e-7 the textbook fp32 form has no digits left."""
    others = torch.zeros(1, 1000)
    lead = torch.tensor(16.0 + 7.0)
    logits = torch.cat([lead.reshape(1, 1), others], 1).requires_grad_()
    target = torch.tensor([0])
    exact = logits.detach().double().requires_grad_()
    truth = torch.log1p(1000 * torch.exp(-exact[0, 0]))
    loss = cross_entropy(logits, target)
    loss.backward()
    assert abs(loss.item() / truth.item() - 1) < 1e-6
    one_minus_p = 1 - torch.exp(-truth)
    assert abs(-logits.grad[0, 0].item() / one_minus_p.item() - 1) < 1e-6
    assert_within_budget(loss, F.cross_entropy(logits, target), truth, "loss")


@pytest.mark.parametrize("segmented", [False, True])
def test_fp16_gradients_survive_a_mean_over_many_tokens_under_a_loss_scale(segmented):
    """Small batches do not see it: 1 / N times p falls below fp16 before the scale can lift it."""
    logits, target = make((512, 4000), 4000, torch.float16)
    exact = logits.detach().double().requires_grad_()
    scale = 65536.0
    (truth,) = torch.autograd.grad(F.cross_entropy(exact, target) * scale, exact)
    with torch.autocast("cpu", dtype=torch.float16):
        if segmented:
            ids = torch.zeros_like(target)
            loss = segment_cross_entropy(logits, target, ids, torch.ones(1)).loss
        else:
            loss = cross_entropy(logits, target)
    (grad,) = torch.autograd.grad(loss * scale, logits)
    assert (grad == 0).float().mean() <= (truth.half() == 0).float().mean()
    assert (grad.double() - truth).norm() < 1e-3 * truth.norm()


@pytest.mark.parametrize(
    "op, arguments",
    [
        ("token_cross_entropy", (None, -100, 0.1, 0.0, 0.0)),
        ("token_cross_entropy", ("w", -100, 0.0, 0.01, 30.0)),
        ("weighted_cross_entropy", ("up", None, -100, 0.1, 0.0, 0.0, True)),
        ("weighted_cross_entropy", ("up", "w", -100, 0.0, 0.01, 30.0, False)),
    ],
)
def test_opcheck(op, arguments):
    logits, target = make((4, 9), 9)
    named = {"w": torch.rand(9), "up": torch.rand(4)}
    arguments = [named.get(a, a) if isinstance(a, str) else a for a in arguments]
    if arguments[-1] is False:
        logits = logits.detach()
    torch.library.opcheck(getattr(torch.ops.percbal, op).default, (logits, target, *arguments))


def test_opcheck_of_the_helpers_of_backward():
    logits, target = make((4, 9), 9)
    torch.library.opcheck(torch.ops.percbal.scale_.default, (torch.rand(3, 4), torch.tensor(2.0)))
    options = (-100, 0.0, 0.0, 0.0)
    stats = torch.ops.percbal.token_cross_entropy(logits.detach(), target, None, *options)[2]
    torch.library.opcheck(
        torch.ops.percbal.token_cross_entropy_backward.default,
        (torch.rand(4), logits.detach(), target, None, stats, *options),
    )
