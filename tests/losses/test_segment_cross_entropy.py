"""segment_cross_entropy against the same thing written out in PyTorch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from percbal_ops import segment_cross_entropy

IGNORE = -100


def batch(seed=0, dtype=torch.float64, shape=(3, 8), vocab=23):
    """Logits (3, 8, 23), targets and segment ids (3, 8): two segments, none, and ignored tokens."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(*shape, vocab, generator=generator, dtype=torch.float64).to(dtype)
    target = torch.randint(0, vocab, shape, generator=generator)
    ids = torch.randint(-1, 2, shape, generator=generator)
    target[:, 0] = IGNORE
    return logits.requires_grad_(), target, ids


def written_out(logits, target, ids, weights, counts=None, weight=None, smoothing=0.0):
    nll = F.cross_entropy(
        logits.flatten(0, -2),
        target.flatten(),
        weight,
        reduction="none",
        label_smoothing=smoothing,
    )
    losses, norms, seen = [], [], []
    for s in range(len(weights)):
        inside = (ids.flatten() == s) & (target.flatten() != IGNORE)
        count = inside.sum() if counts is None else counts[s]
        loss = (nll * inside).sum() / count if count > 0 else (nll * 0).sum()
        (grad,) = torch.autograd.grad(loss, logits, retain_graph=True)
        losses.append(loss)
        norms.append(grad.norm())
        seen.append(inside.sum())
    losses = torch.stack(losses)
    return (weights * losses).sum(), losses, torch.stack(seen), torch.stack(norms)


@pytest.mark.parametrize("counts", [None, torch.tensor([40.0, 7.0]), torch.tensor([0, 9])])
@pytest.mark.parametrize("smoothing, weighted", [(0.0, False), (0.1, True)])
def test_equals_the_written_out_form(counts, smoothing, weighted):
    logits, target, ids = batch()
    weights = torch.tensor([0.3, 0.7], dtype=torch.float64)
    weight = torch.linspace(0.5, 2, 23, dtype=torch.float64) if weighted else None
    expected = written_out(logits, target, ids, weights, counts, weight, smoothing)
    ours = segment_cross_entropy(
        logits,
        target,
        ids,
        weights,
        segment_counts=counts,
        class_weight=weight,
        label_smoothing=smoothing,
    )
    for name, a, b in zip(ours._fields, ours, expected, strict=True):
        torch.testing.assert_close(a, b, msg=lambda m, name=name: f"{name}: {m}")
    (grad,) = torch.autograd.grad(ours.loss, logits, torch.tensor(0.3).double())
    (truth,) = torch.autograd.grad(expected[0], logits, torch.tensor(0.3).double())
    torch.testing.assert_close(grad, truth)


def test_micro_batches_with_global_counts_add_up_to_the_whole_batch():
    weights = torch.tensor([0.4, 0.6], dtype=torch.float64)
    parts = [batch(seed) for seed in range(3)]
    whole = [torch.cat([part[i] for part in parts]) for i in range(3)]
    truth = segment_cross_entropy(*whole, weights)
    outs = [
        segment_cross_entropy(*part, weights, segment_counts=truth.segment_count) for part in parts
    ]
    torch.testing.assert_close(sum(o.loss for o in outs), truth.loss)
    torch.testing.assert_close(sum(o.segment_loss for o in outs), truth.segment_loss)
    squares = sum(o.segment_grad_norm**2 for o in outs)
    torch.testing.assert_close(squares.sqrt(), truth.segment_grad_norm)
    naive = sum(segment_cross_entropy(*part, weights).loss for part in parts) / 3
    assert (naive - truth.loss).abs() > 1e-3, "the mean of means would hide the difference"


def test_token_mean_weights_give_plain_cross_entropy():
    logits, target, ids = batch()
    ids = ids.clamp(min=0)
    count = torch.stack([((ids == s) & (target != IGNORE)).sum() for s in (0, 1)])
    ours = segment_cross_entropy(logits, target, ids, count / count.sum())
    expected = F.cross_entropy(logits.flatten(0, 1), target.flatten())
    torch.testing.assert_close(ours.loss, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("empty", ["negative ids", "ignored targets", "no tokens"])
def test_empty_batches_are_zero_and_connected(empty):
    logits, target, ids = batch(dtype=torch.float32)
    if empty == "negative ids":
        ids = ids.fill_(-1)
    elif empty == "ignored targets":
        target = target.fill_(IGNORE)
    else:
        logits = torch.empty(0, 23, requires_grad=True)
        target = ids = torch.empty(0, dtype=torch.long)
    out = segment_cross_entropy(logits, target, ids, torch.tensor([0.5, 0.5]))
    assert out.loss == 0 and torch.equal(out.segment_grad_norm, torch.zeros(2))
    out.loss.backward()
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_one_empty_segment_contributes_nothing():
    logits, target, ids = batch(dtype=torch.float32)
    ids = torch.where(ids == 0, -1, ids)
    out = segment_cross_entropy(logits, target, ids, torch.tensor([0.9, 0.1]))
    assert out.segment_loss[0] == 0 and out.segment_count[0] == 0
    torch.testing.assert_close(out.loss, 0.1 * out.segment_loss[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_results_are_float32_and_norms_survive_low_precision(dtype):
    logits, target, ids = batch(dtype=dtype)
    weights = torch.tensor([0.3, 0.7])
    out = segment_cross_entropy(logits, target, ids, weights)
    assert {out.loss.dtype, out.segment_loss.dtype, out.segment_grad_norm.dtype} == {torch.float32}
    truth = segment_cross_entropy(logits.double(), target, ids, weights)
    torch.testing.assert_close(
        out.segment_grad_norm.double(), truth.segment_grad_norm, rtol=2e-5, atol=0
    )


def test_z_loss_and_softcap():
    logits, target, ids = batch()
    weights = torch.tensor([0.3, 0.7], dtype=torch.float64)
    out = segment_cross_entropy(logits, target, ids, weights, z_loss=0.01, softcap=5.0)
    capped = 5 * torch.tanh(logits / 5)
    expected = written_out(capped, target, ids, weights)[0]
    for s in range(2):
        inside = (ids == s) & (target != IGNORE)
        square = capped.logsumexp(-1) ** 2
        expected = expected + weights[s] * 0.01 * (square * inside).sum() / inside.sum()
    torch.testing.assert_close(out.loss, expected)
    (a,) = torch.autograd.grad(out.loss, logits)
    (b,) = torch.autograd.grad(expected, logits)
    torch.testing.assert_close(a, b)


def test_only_the_loss_is_differentiable():
    logits, target, ids = batch()
    out = segment_cross_entropy(logits, target, ids, torch.tensor([0.3, 0.7]))
    assert out.loss.requires_grad
    assert not any(x.requires_grad for x in out[1:])


def test_compiles_into_one_graph():
    torch._dynamo.reset()
    logits, target, ids = batch(dtype=torch.float32)
    weights = torch.tensor([0.3, 0.7])
    compiled = torch.compile(segment_cross_entropy, fullgraph=True, backend="aot_eager")
    ours, expected = (f(logits, target, ids, weights) for f in (compiled, segment_cross_entropy))
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a, b)
    (grad,) = torch.autograd.grad(ours.loss, logits, torch.tensor(0.5))
    (truth,) = torch.autograd.grad(expected.loss, logits, torch.tensor(0.5))
    torch.testing.assert_close(grad, truth)


def test_gradcheck():
    logits, target, ids = batch(shape=(2, 3), vocab=5)
    weights = torch.tensor([0.3, 0.7], dtype=torch.float64)

    def loss(x):
        return segment_cross_entropy(
            x, target, ids, weights, z_loss=0.1, softcap=3.0, label_smoothing=0.1
        ).loss

    assert torch.autograd.gradcheck(loss, logits)


GOOD = dict(
    logits=torch.randn(4, 7),
    target=torch.zeros(4, dtype=torch.long),
    segment_ids=torch.zeros(4, dtype=torch.long),
    segment_weights=torch.tensor([0.5, 0.5]),
)
BAD = [
    (dict(target=torch.tensor([0, 7, 0, 0])), IndexError, "Target 7 is out of bounds"),
    (dict(target=torch.tensor([0, -3, 0, 0])), IndexError, "Target -3 is out of bounds"),
    (
        dict(segment_ids=torch.tensor([0, 2, 0, 0])),
        IndexError,
        "segment_ids holds 2, but segment_weights has 2 entries",
    ),
    (
        dict(logits=torch.ones(4, 7, dtype=torch.int32)),
        ValueError,
        "floating point, got torch.int32",
    ),
    (dict(logits=torch.randn(7)), ValueError, r"logits must be \(..., V\), got shape \(7,\)"),
    (
        dict(target=torch.zeros(5, dtype=torch.long)),
        ValueError,
        r"target must have shape \(4,\), got \(5,\)",
    ),
    (
        dict(segment_ids=torch.zeros(2, 2, dtype=torch.long)),
        ValueError,
        r"segment_ids must have shape \(4,\), got \(2, 2\)",
    ),
    (dict(target=torch.zeros(4)), ValueError, "target must hold integers, got torch.float32"),
    (dict(segment_weights=torch.tensor([1, 2])), ValueError, "floating point, got shape"),
    (dict(segment_weights=torch.tensor(0.5)), ValueError, r"segment_weights must be \(S,\)"),
    (
        dict(segment_weights=torch.tensor([0.5, 0.5], requires_grad=True)),
        ValueError,
        "must not require grad",
    ),
    (dict(segment_counts=torch.ones(3)), ValueError, r"must have shape \(2,\), got \(3,\)"),
    (dict(class_weight=torch.ones(6)), ValueError, r"class_weight must be \(7,\), got \(6,\)"),
    (dict(label_smoothing=-0.1), ValueError, "between 0 and 1, got -0.1"),
    (dict(z_loss=-1.0), ValueError, "z_loss must be finite and not negative, got -1.0"),
    (dict(softcap=0.0), ValueError, "softcap must be positive and finite, got 0.0"),
]


@pytest.mark.parametrize("change, kind, sentence", BAD, ids=[b[2][:30] for b in BAD])
def test_bad_input_gets_one_sentence(change, kind, sentence):
    with pytest.raises(kind, match=sentence) as error:
        segment_cross_entropy(**(GOOD | change))
    assert "\n" not in str(error.value)


def test_the_operators_around_the_loss_pass_opcheck():
    target, ids = torch.tensor([1, 2, -100, 0]), torch.tensor([0, 1, 1, -1])
    weights = torch.tensor([0.3, 0.7])
    for counts in (None, torch.tensor([3, 5])):
        torch.library.opcheck(
            torch.ops.percbal.split_segments.default, (target, ids, weights, counts, -100)
        )
    loss, inverse = torch.rand(4), torch.tensor([0.5, 1.0], dtype=torch.float64)
    torch.library.opcheck(torch.ops.percbal.segment_results.default, (loss, loss, ids, inverse))


def test_other_numbers_of_rows_are_not_compiled_anew():
    """The first time a size changes it becomes a symbol."""
    frames = []

    def backend(graph, _):
        frames.append(1)
        return graph.forward

    torch._dynamo.reset()
    call = torch.compile(lambda *args: segment_cross_entropy(*args).loss, backend=backend)
    for n in (5, 6, 7, 9):
        ids = torch.arange(n) % 2
        call(torch.randn(n, 11), torch.randint(11, (n,)), ids, torch.tensor([0.5, 0.5]))
    assert len(frames) <= 2
