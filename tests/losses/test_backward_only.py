"""What has a backward and no other derivative says so, in every function and for every argument."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import forward_ad

import percbal_ops as ops

GENERATOR = torch.Generator().manual_seed(0)
LOGITS, HIDDEN, HEAD, BIAS = (
    torch.randn(shape, generator=GENERATOR) for shape in ((5, 7), (5, 3), (7, 3), (7,))
)
TARGET, IDS, SHARES = torch.arange(5), torch.tensor([0, 1, 0, 1, -1]), torch.tensor([0.3, 0.7])

# name of the function -> the tensors that a derivative may be wanted for, and the loss of them
CALLS = {
    "cross_entropy": ((LOGITS,), lambda z: ops.cross_entropy(z, TARGET)),
    "segment_cross_entropy": (
        (LOGITS,),
        lambda z: ops.segment_cross_entropy(z, TARGET, IDS, SHARES).loss,
    ),
    "linear_cross_entropy": (
        (HIDDEN, HEAD, BIAS),
        lambda x, w, b: ops.linear_cross_entropy(x, w, TARGET, linear_bias=b),
    ),
    "linear_segment_cross_entropy": (
        (HIDDEN, HEAD, BIAS),
        lambda x, w, b: (
            ops.linear_segment_cross_entropy(
                x, w, TARGET, IDS, SHARES, bias=b, grad_norm="head"
            ).loss
        ),
    ),
    "linear_token_logprob": (
        (HIDDEN, HEAD, BIAS),
        lambda x, w, b: sum(t.sum() for t in ops.linear_token_logprob(x, w, TARGET, bias=b)),
    ),
    # refused before the process group is asked for
    "vocab_parallel_cross_entropy": (
        (LOGITS,),
        lambda z: ops.vocab_parallel_cross_entropy(z, TARGET, 0),
    ),
    "vocab_parallel_segment_cross_entropy": (
        (LOGITS,),
        lambda z: ops.vocab_parallel_segment_cross_entropy(z, TARGET, IDS, SHARES, 0).loss,
    ),
}
LOCAL = [name for name in CALLS if not name.startswith("vocab")]
ARGUMENTS = [(name, i) for name, (given, _) in CALLS.items() for i in range(len(given))]


def jvp(f, x):
    return torch.func.jvp(f, (x,), (torch.ones_like(x),))


def dual(f, x):
    with forward_ad.dual_level():
        return f(forward_ad.make_dual(x, torch.ones_like(x)))


def vmap_of_grad(f, x):
    return torch.func.vmap(torch.func.grad(f))(torch.stack([x, x]))


def grad_of_functionalize(f, x):
    return torch.func.grad(torch.func.functionalize(f))(x)


TRANSFORMS = {
    "jvp": jvp,
    "jacfwd": lambda f, x: torch.func.jacfwd(f)(x),
    "dual tensor": dual,
    "grad": lambda f, x: torch.func.grad(f)(x),
    "vjp": lambda f, x: torch.func.vjp(f, x),
    "jacrev": lambda f, x: torch.func.jacrev(f)(x),
    "hessian": lambda f, x: torch.func.hessian(f)(x),
    "vmap": lambda f, x: torch.func.vmap(f)(torch.stack([x, x])),
    "vmap of grad": vmap_of_grad,
    "grad of functionalize": grad_of_functionalize,
}


def of_one(name, i):
    """The loss as a function of its i-th tensor alone, and that tensor."""
    given, loss = CALLS[name]
    return lambda x: loss(*given[:i], x, *given[i + 1 :]), given[i]


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("name, i", ARGUMENTS)
def test_other_derivatives_are_refused_in_one_sentence(name, i, transform):
    loss, x = of_one(name, i)
    with pytest.raises(RuntimeError, match=rf"^{name} takes neither torch\.func .* use F\.") as e:
        TRANSFORMS[transform](loss, x)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("transform", ["jvp", "grad"])
def test_a_compiled_transform_is_refused_too(transform):
    torch._dynamo.reset()
    loss, x = of_one("cross_entropy", 0)
    compiled = torch.compile(lambda x: TRANSFORMS[transform](loss, x), backend="aot_eager")
    with pytest.raises(RuntimeError, match="cross_entropy takes neither"):
        compiled(x)


@pytest.mark.parametrize("name", LOCAL)
def test_calls_beside_a_transform_are_as_ever(name):
    given, loss = CALLS[name]
    expected = loss(*given)
    with forward_ad.dual_level():  # in which nothing is dual
        assert torch.equal(loss(*given), expected)
    assert torch.equal(torch.func.functionalize(loss)(*given), expected)
    _, tangent = jvp(lambda x: loss(*given) + x, torch.zeros(()))  # a constant for it
    assert tangent == 1


@pytest.mark.parametrize("transform", ["jvp", "grad", "vmap"])
def test_what_is_torchs_own_takes_them(transform):
    """Probabilities as targets are handed to torch, which has every derivative."""
    shares = F.softmax(LOGITS, 1)
    ours, expected = (
        TRANSFORMS[transform](lambda z, f=f: f(z, shares), LOGITS)
        for f in (ops.cross_entropy, F.cross_entropy)
    )
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("name", LOCAL)
def test_the_check_breaks_no_graph(name):
    torch._dynamo.reset()
    given, loss = CALLS[name]
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(*given), loss(*given))
