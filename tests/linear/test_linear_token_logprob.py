"""linear_token_logprob: log-probability and entropy of each token, and gradients of both."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from accuracy import assert_within_budget
from cases import CASES, IGNORE
from linear_cases import confident, double, gradients, problem

from percbal_ops.linear import logprob_chunks
from percbal_ops.linear import plan as linear_plan
from percbal_ops.linear.logprob import linear_token_logprob

OPTIONS = {
    "plain": {},
    "temperature": dict(temperature=0.7),
    "softcap": dict(softcap=6.0),
    "both": dict(temperature=1.4, softcap=6.0),
}


@pytest.fixture(autouse=True, params=[16, 1000], ids=["chunks", "one chunk"])
def chunk(request, monkeypatch):
    monkeypatch.setattr(linear_plan, "CPU_ROWS", request.param)
    monkeypatch.setattr(linear_plan, "LOGITS", 0)
    monkeypatch.setattr(linear_plan, "CPU_LOW_PRECISION_ROWS", request.param)


def plain(hidden, head, bias, target, temperature=1.0, softcap=None):
    logits = F.linear(hidden, head, bias)
    logits = logits if logits.dtype == torch.float64 else logits.float()
    if softcap:
        logits = softcap * torch.tanh(logits / softcap)
    logp = F.log_softmax(logits / temperature, -1)
    valid = target != IGNORE
    logprob = logp.gather(-1, target.where(valid, 0)[..., None])[..., 0]
    entropy = -torch.where(logp == -torch.inf, 0, logp.exp() * logp).sum(-1)
    return logprob.where(valid, 0), entropy.where(valid, 0)


def upstream(shape, dtype):
    """One upstream gradient for each output, some 0, as a mask or a clipped ratio leaves them."""
    a = torch.linspace(-2, 1, math.prod(shape), dtype=dtype).reshape(shape)
    b = torch.linspace(0.5, -0.5, math.prod(shape), dtype=dtype).reshape(shape)
    a[::4], b[::4] = 0, 0
    return a, b


def weighted(outputs):
    a, b = upstream(outputs[0].shape, outputs[0].dtype)
    return (outputs[0] * a).sum() + (outputs[1] * b).sum()


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("biased", [True, False])
def test_both_outputs_and_every_gradient_in_float64(options, biased):
    hidden, head, bias, target = problem()
    bias, options = bias if biased else None, OPTIONS[options]
    ours = linear_token_logprob(hidden, head, target, bias=bias, **options)
    expected = plain(hidden, head, bias, target, **options)
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a, b)
    leaves = [hidden, head] + [bias] * biased
    for a, b in zip(
        gradients(weighted(ours), leaves), gradients(weighted(expected), leaves), strict=True
    ):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("which", [0, 1])
def test_each_output_alone_has_its_gradient(which):
    hidden, head, _, target = problem()
    ours = linear_token_logprob(hidden, head, target)[which].sum()
    expected = plain(hidden, head, None, target)[which].sum()
    for a, b in zip(
        gradients(ours, (hidden, head)), gradients(expected, (hidden, head)), strict=True
    ):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("options", OPTIONS)
def test_loses_no_more_than_twice_what_torch_loses(dtype, options):
    hidden, head, bias, target = problem(dtype)
    leaves, exact = (hidden, head, bias), double(hidden, head, bias)
    ours = linear_token_logprob(hidden, head, target, bias=bias, **OPTIONS[options])
    theirs = plain(*leaves, target, **OPTIONS[options])
    truth = plain(*exact, target, **OPTIONS[options])
    assert ours[0].dtype == ours[1].dtype == torch.float32
    for name, *results in zip(("logprob", "entropy"), ours, theirs, truth, strict=True):
        assert_within_budget(*results, name)
    for a, b, c in zip(
        gradients(weighted(ours), leaves),
        gradients(weighted(theirs), leaves),
        gradients(weighted(truth), exact),
        strict=True,
    ):
        assert (a - c).norm() <= 2 * (b - c).norm() + 2e-7 * c.norm()


def test_certain_tokens_keep_their_digits():
    hidden, head, target = confident()
    exact = double(hidden, head)
    ours, theirs = linear_token_logprob(hidden, head, target), plain(hidden, head, None, target)
    truth = plain(*exact, None, target)
    for name, *results in zip(("logprob", "entropy"), ours, theirs, truth, strict=True):
        assert_within_budget(*results, name)
    for a, b, c in zip(
        gradients(weighted(ours), (hidden, head)),
        gradients(weighted(theirs), (hidden, head)),
        gradients(weighted(truth), exact),
        strict=True,
    ):
        assert_within_budget(a, b, c, "gradient")


@pytest.mark.parametrize("case", [c for c in CASES if c.vocab < 3000], ids=str)
def test_rows_that_broke_other_kernels(case):
    """An identity head hands the logits of each family on as they are."""
    logits, target = case.make(torch.float32)
    logits = logits.nan_to_num(neginf=-1e30).requires_grad_()
    exact = logits.detach().double().requires_grad_()
    eye = torch.eye(case.vocab)
    ours = linear_token_logprob(logits, eye, target)
    theirs, truth = plain(logits, eye, None, target), plain(exact, eye.double(), None, target)
    for name, *results in zip(("logprob", "entropy"), ours, theirs, truth, strict=True):
        assert_within_budget(*results, name)
    for a, b, c in zip(
        gradients(weighted(ours), (logits,)),
        gradients(weighted(theirs), (logits,)),
        gradients(weighted(truth), (exact,)),
        strict=True,
    ):
        assert_within_budget(a, b, c, "gradient")


def test_entropy_of_known_distributions():
    hidden = torch.eye(3, 4)
    head = torch.zeros(8, 4)
    head[:, 0] = 1.0  # uniform over 8
    head[2, 1] = 200.0  # certain
    head[:2, 2] = 50.0  # a coin
    _, entropy = linear_token_logprob(hidden, head, torch.tensor([0, 2, 1]))
    expected = torch.tensor([math.log(8), 0.0, math.log(2)])
    torch.testing.assert_close(entropy, expected, rtol=1e-6, atol=1e-12)
    _, alone = linear_token_logprob(hidden, head[:1], torch.zeros(3, dtype=torch.long))
    assert torch.equal(alone, torch.zeros(3)), "one class leaves nothing uncertain"


def test_ignored_and_unweighted_tokens_never_meet_a_product(monkeypatch):
    hidden, head, _, target = problem(torch.float32)
    with torch.no_grad():
        hidden[target == IGNORE] = torch.nan
    logprob, entropy = linear_token_logprob(hidden, head, target)
    assert logprob[target == IGNORE].eq(0).all() and entropy[target == IGNORE].eq(0).all()
    used = (target != IGNORE) & (torch.arange(len(target)) < 40)
    seen, mm = [], torch.mm
    monkeypatch.setattr(
        logprob_chunks.torch, "mm", lambda a, b, **k: seen.append(a.shape[0]) or mm(a, b, **k)
    )
    grads = gradients((logprob * (torch.arange(len(target)) < 40)).sum(), (hidden, head))
    assert sum(seen) == 2 * int(used.sum())  # logits again and dX; dW is an addmm
    assert all(g.isfinite().all() for g in grads) and grads[0][~used].eq(0).all()


def test_rows_that_count_for_nothing_do_not_show_where_they_cannot_be_left_out(monkeypatch):
    hidden, head, bias, target = problem(dtype=torch.float32)
    with torch.no_grad():  # logits of about -256, where a hidden state of zeros has the bias
        head[:, 0] = 1
        hidden[:, 0] = -256
    leaves = hidden, head, bias
    for options in OPTIONS.values():
        results = []
        for known in (True, False):
            with monkeypatch.context() as patch:
                patch.setattr(logprob_chunks, "may_ask", lambda *_, known=known: known)
                ours = linear_token_logprob(hidden, head, target, bias=bias, **options)
                results.append((*ours, *gradients(weighted(ours), leaves)))
        torch.testing.assert_close(*results, rtol=1e-4, atol=1e-3)


def test_nan_and_infinite_hidden_states_reach_both_outputs():
    for bad in (torch.nan, torch.inf):
        hidden, head, _, target = problem(torch.float32)
        with torch.no_grad():
            hidden[3] = bad
        for out in linear_token_logprob(hidden, head, target):
            assert out[3].isnan() and out.isnan().sum() == 1


def test_only_the_gradients_asked_for_are_computed():
    for frozen in range(3):
        hidden, head, bias, target = problem()
        leaves = [hidden, head, bias]
        leaves[frozen].requires_grad_(False)
        ours = weighted(linear_token_logprob(hidden, head, target, bias=bias))
        expected = weighted(plain(hidden, head, bias, target))
        for a, b in zip(gradients(ours, leaves), gradients(expected, leaves), strict=True):
            torch.testing.assert_close(a, b)


def test_leading_shape_autocast_and_no_token():
    hidden, head, bias, target = problem(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        ours = linear_token_logprob(hidden.reshape(9, 10, -1), head, target.reshape(9, 10))
        expected = plain(hidden, head, None, target)
    for a, b in zip(ours, expected, strict=True):
        assert a.dtype == torch.float32 and a.shape == (9, 10)
        torch.testing.assert_close(a.flatten(), b, rtol=1e-4, atol=1e-5)
    logprob, entropy = linear_token_logprob(hidden[:0], head, target[:0])
    (grad,) = gradients((logprob + entropy).sum(), (head,))
    assert torch.equal(grad, torch.zeros_like(head))


def test_backward_twice_and_differentiating_twice():
    hidden, head, _, target = problem()
    loss = weighted(linear_token_logprob(hidden, head, target))
    first = torch.autograd.grad(loss, hidden, retain_graph=True)[0]
    assert torch.equal(first, torch.autograd.grad(loss, hidden, retain_graph=True)[0])
    with pytest.raises(RuntimeError, match="linear_token_logprob cannot be differentiated twice"):
        torch.autograd.grad(loss, hidden, create_graph=True)


def test_compiles_into_one_graph():
    torch._dynamo.reset()
    hidden, head, bias, target = problem(torch.float32)
    compiled = torch.compile(linear_token_logprob, fullgraph=True, backend="aot_eager")
    ours = compiled(hidden, head, target, bias=bias, temperature=0.8)
    expected = linear_token_logprob(hidden, head, target, bias=bias, temperature=0.8)
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a, b)
    leaves = (hidden, head, bias)
    for a, b in zip(
        gradients(weighted(ours), leaves), gradients(weighted(expected), leaves), strict=True
    ):
        torch.testing.assert_close(a, b)


def test_gradcheck_and_contract():
    hidden, head, bias, target = problem(rows=5, features=3, vocab=4)
    assert torch.autograd.gradcheck(
        lambda x, w, b: linear_token_logprob(x, w, target, bias=b, temperature=0.7, softcap=3.0),
        (hidden, head, bias),
    )
    torch.library.opcheck(
        torch.ops.percbal.linear_token_logprob.default,
        (hidden, head, bias, target, IGNORE, 0.7, 3.0),
    )


@pytest.mark.parametrize(
    "change, kind, sentence",
    [
        (dict(head=torch.randn(7, 5)), ValueError, r"got \(4, 3\) and \(7, 5\)"),
        (dict(target=torch.zeros(5).long()), ValueError, r"target must have shape \(4,\), got \(5"),
        (dict(temperature=0.0), ValueError, "temperature must be positive and finite, got 0.0"),
        (dict(softcap=-2.0), ValueError, "softcap must be positive and finite, got -2.0"),
        (dict(target=torch.tensor([0, 7, 0, 0])), IndexError, "Target 7 is out of bounds"),
    ],
)
def test_bad_input_gets_one_sentence(change, kind, sentence):
    good = dict(hidden=torch.randn(4, 3), head=torch.randn(7, 3), target=torch.zeros(4).long())
    with pytest.raises(kind, match=sentence) as error:
        linear_token_logprob(**(good | change))
    assert "\n" not in str(error.value)
