"""linear_segment_cross_entropy: segment losses and three levels of norms, without the logits."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from accuracy import assert_within_budget
from cases import IGNORE
from linear_cases import confident, double, gradients, lay_out, problem

from percbal_ops import segment_cross_entropy
from percbal_ops.linear import chunks as linear_chunks
from percbal_ops.linear.api import linear_segment_cross_entropy
from percbal_ops.linear.norms import square_norm

LEVELS = ("logits", "hidden", "head")
# sizes of the segments against chunks of 16 rows: all small, one large, several large, one empty
SHARES = {
    "small and large": [0.15, 0.85],
    "three large": [0.3, 0.3, 0.4],
    "many small": [0.1] * 10,
    "one empty": [0.5, 0.0, 0.5],
}


@pytest.fixture(autouse=True, params=["chunks", "room"])
def layout(request, monkeypatch):
    lay_out(monkeypatch, request.param)


@pytest.fixture(params=["rows sorted", "rows masked"])
def route(request, monkeypatch):
    """The second is how a device is served whose counts nobody waits for."""
    if request.param == "rows masked":
        monkeypatch.setattr(linear_chunks, "may_ask", lambda *_: False)


def members(shares, rows, seed=3):
    """Segment ids (rows,), every seventh token in none."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.multinomial(torch.tensor(shares), rows, replacement=True, generator=generator)
    ids[::7] = -1
    return ids


def written_out(hidden, head, bias, target, ids, weights, counts=None, options=None, level=None):
    """Everything by autograd through the whole logits."""
    logits = F.linear(hidden, head, bias)
    whole = segment_cross_entropy(
        logits, target, ids, weights, segment_counts=counts, **(options or {})
    )
    if level in (None, "logits"):
        return whole
    leaf = hidden if level == "hidden" else head
    norms = []
    for s in range(len(weights)):
        alone = torch.zeros_like(weights)
        alone[s] = 1.0
        part = segment_cross_entropy(
            logits, target, ids, alone, segment_counts=counts, **(options or {})
        )
        norms.append(torch.autograd.grad(part.loss, leaf, retain_graph=True)[0].norm())
    return whole._replace(segment_grad_norm=torch.stack(norms))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("shares", SHARES)
def test_equals_the_written_out_form(shares, level, route):
    hidden, head, bias, target = problem(rows=130)
    ids = members(SHARES[shares], 130)
    weights = torch.linspace(-0.4, 1.1, len(SHARES[shares]), dtype=torch.float64)
    weights[-1] = 0.0  # its loss and norm are wanted all the same
    options = dict(label_smoothing=0.1, z_loss=0.01, softcap=8.0)
    expected = written_out(hidden, head, bias, target, ids, weights, None, options, level)
    ours = linear_segment_cross_entropy(
        hidden, head, target, ids, weights, bias=bias, grad_norm=level, **options
    )
    for name, a, b in zip(ours._fields, ours, expected, strict=True):
        torch.testing.assert_close(a, b, msg=lambda m, name=name: f"{name}: {m}")
    up = torch.tensor(0.3, dtype=torch.float64)
    for a, b in zip(
        gradients(ours.loss, (hidden, head, bias), up),
        gradients(expected.loss, (hidden, head, bias), up),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("frozen", ["hidden", "head", "both", "no grad"])
def test_norms_do_not_depend_on_what_is_trained(level, frozen, route):
    hidden, head, bias, target = problem(rows=130)
    ids, weights = members([0.2, 0.4, 0.4], 130), torch.tensor([0.5, 0.0, 0.5]).double()
    truth = written_out(hidden, head, bias, target, ids, weights, level=level)
    hidden.requires_grad_(frozen not in ("hidden", "both"))
    head.requires_grad_(frozen not in ("head", "both"))
    with torch.set_grad_enabled(frozen != "no grad"):
        ours = linear_segment_cross_entropy(
            hidden, head, target, ids, weights, bias=bias, grad_norm=level
        )
    torch.testing.assert_close(ours.segment_grad_norm, truth.segment_grad_norm)
    if frozen != "no grad":
        leaves = (hidden, head, bias)
        for a, b in zip(gradients(ours.loss, leaves), gradients(truth.loss, leaves), strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("counts", [torch.tensor([400, 70]), torch.tensor([0, 9])])
def test_global_counts_scale_losses_and_norms(counts):
    hidden, head, bias, target = problem()
    ids, weights = members([0.5, 0.5], len(target)), torch.tensor([0.3, 0.7]).double()
    for level in LEVELS:
        expected = written_out(hidden, head, bias, target, ids, weights, counts, None, level)
        ours = linear_segment_cross_entropy(
            hidden, head, target, ids, weights, bias=bias, segment_counts=counts, grad_norm=level
        )
        for a, b in zip(ours, expected, strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("level", LEVELS)
def test_loses_no_more_than_twice_what_torch_loses(dtype, level):
    hidden, head, bias, target = problem(dtype, rows=130)
    ids, weights = members([0.15, 0.85], 130), torch.tensor([0.3, 0.7])
    exact = double(hidden, head, bias)
    truth = written_out(*exact, target, ids, weights.double(), level=level)
    theirs = written_out(hidden, head, bias, target, ids, weights, level=level)
    ours = linear_segment_cross_entropy(
        hidden, head, target, ids, weights, bias=bias, grad_norm=level
    )
    assert ours.loss.dtype == ours.segment_grad_norm.dtype == torch.float32
    for name in ("loss", "segment_loss"):
        assert_within_budget(*(getattr(o, name) for o in (ours, theirs, truth)), name)
    # a norm of 10^3 entries and more: their rounding errors mostly cancel, in whatever order
    torch.testing.assert_close(
        ours.segment_grad_norm.double(),
        truth.segment_grad_norm,
        rtol=max(2e-6, torch.finfo(dtype).eps / 2),
        atol=0,
    )
    for a, b, c in zip(
        gradients(ours.loss, (hidden, head, bias)),
        gradients(theirs.loss, (hidden, head, bias)),
        gradients(truth.loss, exact),
        strict=True,
    ):
        assert (a - c).norm() <= 2 * (b - c).norm() + 1e-7 * c.norm()


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_the_norm_of_a_segment_survives_a_neighbour_a_million_times_its_size(scale, route):
    """Taken as a difference of the others from the whole, no digit of it would be left."""
    hidden, head, _, target = problem(torch.float32, rows=130)
    ids = members([0.5, 0.5], 130)
    with torch.no_grad():
        hidden[ids == 0] *= scale**2
        hidden /= scale
        head /= 30
    weights = torch.tensor([0.5, 0.5])
    truth = written_out(*double(hidden, head), None, target, ids, weights.double(), level="head")
    ours = linear_segment_cross_entropy(hidden, head, target, ids, weights, grad_norm="head")
    a, b = truth.segment_grad_norm
    assert max(a / b, b / a) > 1e5
    torch.testing.assert_close(
        ours.segment_grad_norm.double(), truth.segment_grad_norm, rtol=1e-4, atol=0
    )


def test_certain_tokens_keep_their_norm():
    hidden, head, target = confident()
    ids = (torch.arange(len(target)) > 48).long()  # the second segment is certain to 1e-5
    weights = torch.tensor([0.5, 0.5])
    for level in LEVELS:
        truth = written_out(*double(hidden, head), None, target, ids, weights.double(), level=level)
        theirs = written_out(hidden, head, None, target, ids, weights, level=level)
        ours = linear_segment_cross_entropy(hidden, head, target, ids, weights, grad_norm=level)
        assert_within_budget(*(o.segment_grad_norm for o in (ours, theirs, truth)), level)


def test_a_sum_of_many_squares_keeps_its_digits():
    part = torch.full((100_000, 40), 0.1)
    assert (square_norm(part) / (4e6 * float(part[0, 0]) ** 2) - 1).abs() < 1e-6


def test_rows_of_no_segment_cost_nothing_and_may_hold_nan():
    hidden, head, bias, target = problem()
    ids, weights = members([0.5, 0.5], len(target)), torch.tensor([0.3, 0.7]).double()
    with torch.no_grad():
        hidden[ids < 0] = torch.nan
    for level in LEVELS:
        out = linear_segment_cross_entropy(
            hidden, head, target, ids, weights, bias=bias, grad_norm=level
        )
        assert all(x.isfinite().all() for x in out)
        grads = gradients(out.loss, (hidden, head, bias))
        assert all(g.isfinite().all() for g in grads)
        assert grads[0][ids < 0].eq(0).all()


def test_no_level_means_no_norm():
    hidden, head, bias, target = problem()
    ids, weights = members([0.5, 0.5], len(target)), torch.tensor([0.3, 0.7]).double()
    out = linear_segment_cross_entropy(hidden, head, target, ids, weights, grad_norm=None)
    assert out.segment_grad_norm.isnan().all() and out.loss.isfinite()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("empty", ["negative ids", "ignored targets", "no tokens"])
def test_empty_batches_are_zero_and_connected(empty, level, route):
    hidden, head, _, target = problem(torch.float32)
    ids = torch.full_like(target, -1 if empty == "negative ids" else 0)
    if empty == "ignored targets":
        target = torch.full_like(target, IGNORE)
    elif empty == "no tokens":
        hidden, target, ids = hidden.detach()[:0].requires_grad_(), target[:0], ids[:0]
    out = linear_segment_cross_entropy(
        hidden, head, target, ids, torch.tensor([0.5, 0.5]), grad_norm=level
    )
    assert out.loss == 0 and torch.equal(out.segment_grad_norm, torch.zeros(2))
    for grad in gradients(out.loss, (hidden, head)):
        assert torch.equal(grad, torch.zeros_like(grad))


def test_any_leading_shape():
    hidden, head, bias, target = problem()
    ids, weights = members([0.5, 0.5], len(target)), torch.tensor([0.3, 0.7]).double()
    flat = linear_segment_cross_entropy(hidden, head, target, ids, weights)
    deep = linear_segment_cross_entropy(
        hidden.reshape(3, 5, 6, -1), head, target.reshape(3, 5, 6), ids.reshape(3, 5, 6), weights
    )
    for a, b in zip(flat, deep, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("level", LEVELS)
def test_two_runs_agree_bit_for_bit(level):
    hidden, head, bias, target = problem(torch.bfloat16)
    ids, weights = members([0.3, 0.7], len(target)), torch.tensor([0.3, 0.7])
    runs = []
    for _ in range(2):
        out = linear_segment_cross_entropy(hidden, head, target, ids, weights, grad_norm=level)
        runs.append((*out, *gradients(out.loss, (hidden, head))))
    for a, b in zip(*runs, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("level", LEVELS)
def test_compiles_into_one_graph(level):
    torch._dynamo.reset()
    hidden, head, bias, target = problem(torch.float32)
    ids, weights = members([0.5, 0.5], len(target)), torch.tensor([0.3, 0.7])

    def loss(*args):
        return linear_segment_cross_entropy(*args, bias=bias, grad_norm=level)

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    args = (hidden, head, target, ids, weights)
    ours, expected = compiled(*args), loss(*args)
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a, b)
    up = torch.tensor(0.5)
    for a, b in zip(
        gradients(ours.loss, (hidden, head, bias), up),
        gradients(expected.loss, (hidden, head, bias), up),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_gradcheck():
    hidden, head, bias, target = problem(rows=6, features=3, vocab=4)
    ids, weights = torch.tensor([0, 1, 0, 1, -1, 0]), torch.tensor([0.3, 0.7]).double()

    def loss(x, w, b):
        return linear_segment_cross_entropy(
            x, w, target, ids, weights, bias=b, z_loss=0.1, softcap=3.0, label_smoothing=0.1
        ).loss

    assert torch.autograd.gradcheck(loss, (hidden, head, bias))


GOOD = dict(
    hidden=torch.randn(4, 3),
    head=torch.randn(7, 3),
    target=torch.zeros(4, dtype=torch.long),
    segment_ids=torch.zeros(4, dtype=torch.long),
    segment_weights=torch.tensor([0.5, 0.5]),
)
BAD = [
    (dict(head=torch.randn(7, 5)), ValueError, r"got \(4, 3\) and \(7, 5\)"),
    (dict(head=torch.randn(7, 3).double()), ValueError, "must have one dtype"),
    (dict(head=torch.randn(0, 3)), ValueError, "at least one class"),
    (dict(hidden=torch.ones(4, 3).int()), ValueError, "floating point, got torch.int32"),
    (dict(bias=torch.zeros(3)), ValueError, r"bias must be \(7,\) of torch.float32, got \(3,\)"),
    (dict(target=torch.zeros(5).long()), ValueError, r"target must have shape \(4,\), got \(5,\)"),
    (dict(segment_ids=torch.zeros(4)), ValueError, "segment_ids must hold integers"),
    (dict(target=torch.tensor([0, 7, 0, 0])), IndexError, "Target 7 is out of bounds"),
    (dict(segment_ids=torch.tensor([0, 2, 0, 0])), IndexError, "segment_ids holds 2"),
    (dict(segment_weights=torch.tensor([1, 2])), ValueError, "floating point, got shape"),
    (dict(segment_weights=torch.ones(2, requires_grad=True)), ValueError, "must not require grad"),
    (dict(segment_counts=torch.ones(3)), ValueError, r"must have shape \(2,\), got \(3,\)"),
    (dict(grad_norm="weights"), ValueError, "grad_norm must be None or one of"),
    (dict(softcap=0.0), ValueError, "softcap must be positive and finite, got 0.0"),
    (dict(z_loss=-1.0), ValueError, "z_loss must be finite and not negative, got -1.0"),
]


@pytest.mark.parametrize("change, kind, sentence", BAD, ids=[b[2][:30] for b in BAD])
def test_bad_input_gets_one_sentence(change, kind, sentence):
    with pytest.raises(kind, match=sentence) as error:
        linear_segment_cross_entropy(**(GOOD | change))
    assert "\n" not in str(error.value)
