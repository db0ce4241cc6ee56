"""linear_cross_entropy is F.linear + F.cross_entropy, without the logits."""

from __future__ import annotations

import pytest
import torch
import torch._dynamo.testing
import torch.nn.functional as F
from accuracy import assert_within_budget
from cases import CASES, IGNORE
from linear_cases import confident, double, gradients, lay_out, plain, problem

from percbal_ops.linear import chunks as linear_chunks
from percbal_ops.linear import plan as linear_plan
from percbal_ops.linear.api import linear_cross_entropy
from percbal_ops.linear.room import tiled_weighted_cross_entropy_

NAMES = ("input", "linear_weight", "linear_bias")


@pytest.fixture(autouse=True, params=["chunks", "one chunk", "room"])
def layout(request, monkeypatch):
    """Several uneven chunks, one, or the room of the head's gradient."""
    lay_out(monkeypatch, request.param, 1000 if request.param == "one chunk" else 16)
    return request.param


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing, weighted", [(0.0, False), (0.1, True)])
@pytest.mark.parametrize("biased", [True, False])
def test_loss_and_every_gradient_in_float64(reduction, smoothing, weighted, biased):
    hidden, head, bias, target = problem()
    bias = bias if biased else None
    weight = torch.linspace(0.1, 2, len(head), dtype=torch.float64) if weighted else None
    options = dict(reduction=reduction, label_smoothing=smoothing, weight=weight)
    ours = linear_cross_entropy(hidden, head, target, linear_bias=bias, **options)
    expected = plain(hidden, head, bias, target, **options)
    torch.testing.assert_close(ours, expected)
    leaves = [hidden, head] + [bias] * biased
    up = torch.linspace(-1, 2, expected.numel(), dtype=torch.float64).reshape(expected.shape)
    got, truth = gradients(ours, leaves, up), gradients(expected, leaves, up)
    for name, a, b in zip(NAMES, got, truth, strict=False):
        torch.testing.assert_close(a, b, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_loses_no_more_than_twice_what_torch_loses(dtype, reduction):
    hidden, head, bias, target = problem(dtype)
    leaves, exact = (hidden, head, bias), double(hidden, head, bias)
    truth = plain(*exact, target, reduction=reduction)
    theirs = plain(*leaves, target, reduction=reduction)
    ours = linear_cross_entropy(hidden, head, target, linear_bias=bias, reduction=reduction)
    assert ours.dtype == dtype
    up = torch.linspace(0.5, 2, truth.numel(), dtype=torch.float64).reshape(truth.shape)
    results = [
        (loss, *gradients(loss, x, up.to(loss.dtype)))
        for loss, x in ((ours, leaves), (theirs, leaves), (truth, exact))
    ]
    for name, a, b, c in zip(("loss", *NAMES), *results, strict=True):
        spacing = torch.finfo(dtype).eps * c.abs().max() / 2  # the last rounding of any result
        assert_within_budget(a, torch.where((b - c).abs() < spacing, c + spacing, b), c, name)


@pytest.mark.parametrize("case", [c for c in CASES if c.vocab < 3000], ids=str)
def test_rows_that_broke_other_kernels(case):
    """An identity head hands the logits of each family on as they are."""
    logits, target = case.make(torch.float32)
    logits.nan_to_num_(neginf=-1e30)  # an infinity times the zeros of the identity is NaN
    eye = torch.eye(case.vocab)
    hidden = logits.requires_grad_()
    ours = linear_cross_entropy(hidden, eye, target, reduction="none")
    exact = logits.detach().double().requires_grad_()
    truth = F.cross_entropy(exact, target, reduction="none")
    theirs = F.cross_entropy(logits, target, reduction="none")
    assert_within_budget(ours, theirs, truth, "loss")
    up = torch.linspace(-1.0, 2.0, case.rows)
    (a,), (b,), (c,) = (
        torch.autograd.grad(loss, x, up.to(loss.dtype))
        for loss, x in ((ours, hidden), (theirs, logits), (truth, exact))
    )
    assert_within_budget(a, b, c, "gradient")


def test_certain_tokens_keep_their_digits():
    hidden, head, target = confident()
    exact = double(hidden, head)
    truth = plain(*exact, None, target)
    ours = linear_cross_entropy(hidden, head, target)
    theirs = plain(hidden, head, None, target)
    for a, b, c in zip(
        (ours, *gradients(ours, (hidden, head))),
        (theirs, *gradients(theirs, (hidden, head))),
        (truth, *gradients(truth, exact)),
        strict=True,
    ):
        assert_within_budget(a, b, c, "confident")


def test_the_head_is_summed_in_float32():
    """A bf16 sum of 2048 does not notice that 8 are added, chunk after chunk."""
    hidden = torch.ones(90, 1, dtype=torch.bfloat16)
    hidden[0] = 4096.0
    head = torch.zeros(2, 1, dtype=torch.bfloat16, requires_grad=True)
    target = torch.zeros(90, dtype=torch.long)
    (grad,) = gradients(linear_cross_entropy(hidden, head, target, reduction="sum"), (head,))
    spacing = 16.0  # of bf16 there: one rounding of the first chunk, one of the result
    assert (grad[0].float() + 0.5 * (4096 + 89)).abs() <= spacing


def test_only_the_gradients_asked_for_are_computed():
    for frozen in range(3):
        hidden, head, bias, target = problem(torch.float32)
        leaves = [hidden, head, bias]
        leaves[frozen].requires_grad_(False)
        loss = linear_cross_entropy(hidden, head, target, linear_bias=bias)
        expected = gradients(plain(hidden, head, bias, target), leaves)
        for a, b in zip(gradients(loss, leaves), expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)
    result = torch.ops.percbal.linear_weighted_cross_entropy(
        hidden, head, bias, target, torch.ones(len(target)), None,
        None, IGNORE, 0.0, 0.0, 0.0, "logits", 0, False, True, False,
    )  # fmt: skip
    assert [g.numel() for g in result[4:]] == [0, head.numel(), 0]


def test_ignored_rows_never_meet_a_product(monkeypatch):
    hidden, head, _, target = problem(torch.float32)
    with torch.no_grad():
        hidden[target == IGNORE] = torch.nan  # padding may hold anything
    sizes, mm = [], torch.mm

    def counted(a, b, **options):
        sizes.append(a.numel() * b.shape[1])
        return mm(a, b, **options)

    monkeypatch.setattr(linear_chunks.torch, "mm", counted)
    loss = linear_cross_entropy(hidden, head, target)
    grads = gradients(loss, (hidden, head))
    valid = int((target != IGNORE).sum())
    # two products; the third is an addmm: of dW over chunks, of dX over tiles
    assert sum(sizes) == 2 * valid * head.numel()
    assert loss.isfinite() and all(g.isfinite().all() for g in grads)
    assert grads[0][target == IGNORE].eq(0).all()


def test_no_row_at_all():
    hidden, head, bias, target = problem(torch.float32)
    nothing = torch.full_like(target, IGNORE)
    loss = linear_cross_entropy(hidden, head, nothing, linear_bias=bias)
    assert loss.isnan()
    for grad in gradients(loss, (hidden, head, bias)):
        assert torch.equal(grad, torch.zeros_like(grad))
    assert linear_cross_entropy(hidden, head, nothing, reduction="sum") == 0
    empty = linear_cross_entropy(hidden[:0], head, target[:0], reduction="sum")
    assert empty == 0 and torch.equal(gradients(empty, (head,))[0], torch.zeros_like(head))


def test_nan_and_infinite_hidden_states_reach_the_loss():
    for bad in (torch.nan, torch.inf):
        hidden, head, _, target = problem(torch.float32)
        with torch.no_grad():
            hidden[3] = bad
        losses = linear_cross_entropy(hidden, head, target, reduction="none")
        assert losses[3].isnan() and losses.isnan().sum() == 1


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_backward_can_run_twice_over_one_graph(reduction):
    hidden, head, bias, target = problem(torch.float32)
    leaves = (hidden, head, bias)
    loss = linear_cross_entropy(hidden, head, target, linear_bias=bias, reduction=reduction).sum()
    first = torch.autograd.grad(loss, leaves, torch.tensor(2.0), retain_graph=True)
    kept = [g.clone() for g in first]
    second = torch.autograd.grad(loss, leaves, torch.tensor(-1.0))
    for a, b, c in zip(first, kept, second, strict=True):
        assert torch.equal(a, b), "a later backward wrote over an earlier gradient"
        torch.testing.assert_close(c, -0.5 * b, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_differentiating_twice_is_refused(reduction):
    hidden, head, _, target = problem()
    loss = linear_cross_entropy(hidden, head, target, reduction=reduction).sum()
    with pytest.raises(RuntimeError, match="cannot be differentiated twice") as error:
        torch.autograd.grad(loss, hidden, create_graph=True)
    assert "\n" not in str(error.value)


def test_autocast_multiplies_in_bf16_and_returns_float32():
    hidden, head, bias, target = problem(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        ours = linear_cross_entropy(hidden, head, target, linear_bias=bias)
        expected = plain(hidden, head, bias, target)
    assert ours.dtype == expected.dtype == torch.float32
    torch.testing.assert_close(ours, expected, rtol=2e-3, atol=0)
    for a, b in zip(
        gradients(ours, (hidden, head, bias)),
        gradients(expected, (hidden, head, bias)),
        strict=True,
    ):
        assert a.dtype == torch.float32
        assert (a - b).norm() < 0.02 * b.norm()


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_compiles_into_one_graph_and_once_for_many_lengths(reduction):
    torch._dynamo.reset()
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(linear_cross_entropy, fullgraph=True, backend=counter, dynamic=True)
    compiles = set()
    for rows in (30, 47, 90):
        hidden, head, bias, target = problem(torch.float32, rows=rows)
        options = dict(linear_bias=bias, reduction=reduction)
        ours = compiled(hidden, head, target, **options)
        expected = linear_cross_entropy(hidden, head, target, **options)
        torch.testing.assert_close(ours, expected)
        up = torch.full_like(expected, 0.5)
        for a, b in zip(
            torch.autograd.grad(ours, (hidden, head, bias), up),
            torch.autograd.grad(expected, (hidden, head, bias), up),
            strict=True,
        ):
            torch.testing.assert_close(a, b)
        compiles.add(counter.frame_count)
    assert len(compiles) == 1, "compiled again for another number of tokens"


def test_gradcheck():
    hidden, head, bias, target = problem(rows=5, features=3, vocab=4)
    for options in (dict(reduction="none"), dict(label_smoothing=0.1)):
        assert torch.autograd.gradcheck(
            lambda x, w, b, o=options: linear_cross_entropy(x, w, target, linear_bias=b, **o),
            (hidden, head, bias),
        )


def test_operators_keep_their_contract():
    hidden, head, bias, target = problem(torch.float32, rows=20)
    options = (None, IGNORE, 0.0, 0.0, 0.0)
    torch.library.opcheck(
        torch.ops.percbal.linear_token_cross_entropy.default, (hidden, head, bias, target, *options)
    )
    torch.library.opcheck(
        torch.ops.percbal.linear_weighted_cross_entropy.default,
        (hidden, head, bias, target, torch.rand(20), None, *options, "logits", 0, True, True, True),
    )


def test_gradients_of_transposed_hidden_states_are_as_fake_tensors_say():
    """Whole rows one after the other, whatever the strides that came in."""
    hidden, head, _, target = (x.detach() for x in problem(torch.float32, rows=20))
    hidden, zeros = hidden.t().contiguous().t(), torch.zeros(20)
    options = (None, IGNORE, 0.0, 0.0, 0.0)
    torch.library.opcheck(
        torch.ops.percbal.linear_weighted_cross_entropy.default,
        (hidden, head, None, target, zeros, None, *options, "logits", 0, True, True, False),
        test_utils="test_faketensor",
    )
    stats = torch.ops.percbal.linear_token_logprob(hidden, head, None, target, IGNORE, 1.0, 0.0)[2]
    torch.library.opcheck(
        torch.ops.percbal.linear_token_logprob_backward.default,
        (zeros, zeros, hidden, head, None, target, stats, IGNORE, 1.0, 0.0, True, True, False),
        test_utils="test_faketensor",
    )


def test_strided_inputs():
    hidden, head, bias, target = problem(torch.float32)
    wide = torch.cat((hidden, hidden), 1)[:, : hidden.shape[1]]
    tall = head.t().contiguous().t()
    ours = linear_cross_entropy(wide, tall, torch.stack((target, target), 1)[:, 0])
    torch.testing.assert_close(ours, linear_cross_entropy(hidden, head, target))
    for a, b in zip(
        gradients(ours, (hidden, head)),
        gradients(plain(hidden, head, None, target), (hidden, head)),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)


def test_residuals_in_place_are_those_out_of_place():
    """The last vector of a row overlaps the one before it: widths of every remainder."""
    for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
        for vocab in (1, 2, 31, 33, 64, 65, 130, 4099):
            logits = torch.randn(3, vocab).to(dtype)
            weight = torch.rand(3, dtype=torch.promote_types(dtype, torch.float32))
            target = torch.tensor([0, vocab - 1, IGNORE])
            for options in ((None, IGNORE, 0.0, 0.0, 0.0), (None, IGNORE, 0.1, 0.01, 9.0)):
                _, loss, square, dlogits = torch.ops.percbal.weighted_cross_entropy(
                    logits, target, weight, *options, True
                )
                place = logits.clone()
                got = torch.ops.percbal.weighted_cross_entropy_(place, target, weight, *options)
                for a, b in zip((*got, place), (loss, square, dlogits), strict=True):
                    assert torch.equal(a, b), (dtype, vocab)


def unusual_calls():
    hidden, head, bias, target = problem(rows=6, vocab=5)
    yield "one row", hidden[0], head, target[1], {}
    yield "probabilities", hidden, head, torch.rand(6, 5, dtype=torch.float64).softmax(1), {}
    yield (
        "per site",
        hidden,
        head.reshape(5, 1, -1).expand(5, 2, -1),
        target[:, None].expand(6, 2),
        {},
    )
    yield "smoothed site", hidden, head[:, None], target[:, None], dict(label_smoothing=0.2)


@pytest.mark.parametrize(
    "what, hidden, head, target, options",
    list(unusual_calls()),
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_unusual_shapes_are_torchs(what, hidden, head, target, options):
    ours = linear_cross_entropy(hidden, head, target, **options)
    logits = F.linear(hidden, head.reshape(-1, head.shape[-1]))
    logits = logits.reshape(*hidden.shape[:-1], *head.shape[:-1])
    torch.testing.assert_close(ours, F.cross_entropy(logits, target, **options))


@pytest.mark.skipif(not hasattr(F, "linear_cross_entropy"), reason="new in torch 2.13")
def test_errors_are_torchs_own():
    hidden, head, bias, target = problem(torch.float32)
    wrong = [
        dict(input=hidden[:, :5]),
        dict(target=target[:7]),
        dict(target=target.float()),
        dict(target=target.int()),
        dict(linear_bias=bias[:3]),
        dict(input=hidden[None]),
        dict(weight=torch.ones(3)),
        dict(weight=torch.ones(len(head), dtype=torch.float64)),
        dict(weight=torch.ones(len(head), dtype=torch.bfloat16)),
        dict(weight=torch.ones(len(head), requires_grad=True)),
        dict(label_smoothing=2.0),
        dict(reduction="average"),
        dict(linear_weight=head.double()),
    ]
    for change in wrong:
        call = dict(input=hidden, linear_weight=head, target=target) | change
        with pytest.raises(Exception) as theirs:
            F.linear_cross_entropy(**call)
        with pytest.raises(type(theirs.value)) as ours:
            linear_cross_entropy(**call)
        assert str(ours.value).split("\n")[0] == str(theirs.value).split("\n")[0]
    with pytest.raises(IndexError, match="Target 517 is out of bounds"):
        linear_cross_entropy(hidden, head, target + 517 * (target >= 0) - target.clamp(min=0))


@pytest.mark.parametrize("vocab", [5, 8, 21])
@pytest.mark.parametrize("rows", [1, 6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tiles_hold_what_rows_would(vocab, rows, dtype):
    generator = torch.Generator().manual_seed(vocab)
    room = torch.randn(vocab, 6, generator=generator).to(dtype)
    target = torch.randint(0, vocab, (rows,), generator=generator)
    row_weight = torch.tensor([0.5, 0.0, torch.nan, -1.0, 2.0, 1.0])[:rows]
    target[4:5] = IGNORE
    weight = torch.linspace(0.1, 2, vocab)
    call = (target, row_weight, weight, IGNORE, 0.1, 0.01, 0.0, 8)
    by_rows, by_tiles = room.clone(), room.clone()
    expected = tiled_weighted_cross_entropy_(by_rows, *call)
    got = torch.ops.percbal.tiled_weighted_cross_entropy_(by_tiles, *call)
    for a, b in zip((*got, by_tiles), (*expected, by_rows), strict=True):
        torch.testing.assert_close(a, b, equal_nan=True)


def test_the_operator_on_tiles_keeps_its_contract():
    call = (torch.tensor([3, 0]), torch.ones(2), None, IGNORE, 0.0, 0.0, 0.0, 4)
    operator = torch.ops.percbal.tiled_weighted_cross_entropy_
    torch.library.opcheck(operator.default, (torch.randn(9, 2), *call))
    with pytest.raises(RuntimeError, match="room holds 1 rows"):
        operator(torch.randn(9, 1), *call)
    with pytest.raises(RuntimeError, match="room must be contiguous"):
        operator(torch.randn(2, 9).t(), *call)
    with pytest.raises(RuntimeError, match="tile must be positive, got 0"):
        operator(torch.randn(9, 2), *call[:-1], 0)


def test_the_room_is_for_more_rows_than_a_chunk_and_no_more_than_fit(monkeypatch):
    monkeypatch.setattr(linear_plan, "CPU_ROWS", 16)
    head = torch.empty(50, 40)
    assert linear_plan.room_rows(head, True, "hidden") == range(17, 41)
    assert linear_plan.room_rows(head, True, "head") == range(1, 41)
    assert not linear_plan.room_rows(head, False, "head")
