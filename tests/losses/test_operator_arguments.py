"""What every loss says of numbers that are none, and of tensors that have shapes alone."""

from __future__ import annotations

import inspect
import math

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses import FakeTensorMode

import percbal_ops as ops

SHAPES = dict(
    logits=(4, 7),
    input=(4, 7),
    logits_shard=(4, 7),
    hidden=(4, 3),
    head=(7, 3),
    linear_weight=(7, 3),
)
SEGMENTED = ("segment_cross_entropy", "linear_segment_cross_entropy")
# every differentiable function, and those of its arguments that are checked for NaN
NUMBERS = {
    "cross_entropy": ["label_smoothing"],
    "segment_cross_entropy": ["label_smoothing", "z_loss", "softcap"],
    "linear_cross_entropy": ["label_smoothing"],
    "linear_segment_cross_entropy": ["label_smoothing", "z_loss", "softcap"],
    "linear_token_logprob": ["softcap", "temperature"],
    "vocab_parallel_cross_entropy": ["label_smoothing", "z_loss", "softcap"],
    "vocab_parallel_segment_cross_entropy": ["label_smoothing", "z_loss", "softcap"],
}
LOCAL = [name for name in NUMBERS if not name.startswith("vocab")]


def arguments(name, dtype=torch.float32, device="cpu", grad=False):
    """What `name` has to be given: four tokens, seven classes, two segments."""
    known = dict(
        target=torch.arange(4, device=device),
        segment_ids=torch.tensor([0, 1, 0, -1], device=device),
        segment_weights=torch.ones(2, device=device),
        vocab_start=0,
    )
    for key, shape in SHAPES.items():
        known[key] = torch.randn(shape, dtype=dtype, device=device, requires_grad=grad)
    if name == "linear_cross_entropy":
        known["input"] = known["hidden"]
    parameters = inspect.signature(getattr(ops, name)).parameters.values()
    return {p.name: known[p.name] for p in parameters if p.default is p.empty}


def first(output):
    return output[0] if isinstance(output, tuple) else output


@pytest.mark.parametrize("bad", [math.nan, -math.inf, math.inf, -0.5])
@pytest.mark.parametrize("name, number", [(k, v) for k in NUMBERS for v in NUMBERS[k]])
def test_numbers_that_are_none_are_refused(name, number, bad):
    if name == "cross_entropy" and not math.isnan(bad):
        pytest.skip("torch's own business: it refuses what is above 1")
    if name == "linear_cross_entropy" and bad > 1:
        pytest.skip("torch refuses it")
    with pytest.raises(ValueError, match=rf"^{number} must be .* got {bad}$"):
        getattr(ops, name)(**arguments(name), **{number: bad})


@pytest.mark.parametrize("bad", [math.nan, -1.0, -math.inf])
@pytest.mark.parametrize("name", [name for name in NUMBERS if "segment" in name])
def test_counts_that_count_nothing_are_refused(name, bad):
    counts = torch.tensor([2.0, bad])
    sentence = rf"^segment_counts must not be negative or NaN, got {bad}$"
    with pytest.raises(ValueError, match=sentence):
        getattr(ops, name)(**arguments(name), segment_counts=counts)


@pytest.mark.parametrize("name", SEGMENTED)
def test_integer_counts_and_counts_of_zero_are_taken(name):
    given = arguments(name)
    outputs = [
        getattr(ops, name)(**given, segment_counts=torch.tensor([2, 0], dtype=dtype))
        for dtype in (torch.int64, torch.float32)
    ]
    torch.testing.assert_close(*outputs)
    assert outputs[0].segment_loss[1] == 0


def outcome(name, device, dtype, options):
    """Shapes and dtypes of the first output and of every gradient."""
    given = arguments(name, dtype, device, grad=True)
    value = first(getattr(ops, name)(**given, **options))
    leaves = [x for x in given.values() if isinstance(x, torch.Tensor) and x.requires_grad]
    found = (value, *torch.autograd.grad(value, leaves, torch.ones_like(value)))
    return [(x.shape, x.dtype) for x in found], {x.device.type for x in found}


OPTIONS = [(name, {}) for name in LOCAL]
OPTIONS += [(k, dict(reduction=r)) for k in LOCAL[::2][:2] for r in ("sum", "none")]
OPTIONS += [(LOCAL[3], dict(grad_norm=level)) for level in ("hidden", "head", None)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name, options", OPTIONS)
def test_meta_and_fake_tensors_have_the_shapes_of_real_ones(name, options, dtype):
    expected, _ = outcome(name, "cpu", dtype, options)
    assert outcome(name, "meta", dtype, options) == (expected, {"meta"})
    with FakeTensorMode():
        assert outcome(name, "cpu", dtype, options)[0] == expected


def test_inplace_on_meta_tensors():
    logits = torch.randn(4, 7, device="meta", requires_grad=True)
    loss = ops.cross_entropy(1 * logits, torch.zeros(4, device="meta").long(), inplace=True)
    assert torch.autograd.grad(loss, logits)[0].shape == (4, 7)


@pytest.mark.parametrize("name", ["cross_entropy", "linear_cross_entropy"])
def test_the_signature_is_torchs(name):
    if not hasattr(F, name):
        pytest.skip("new in torch 2.13")
    ours, theirs = (
        {p.name: (p.kind, p.default) for p in inspect.signature(f).parameters.values()}
        for f in (getattr(ops, name), getattr(F, name))
    )
    ours.pop("inplace", None)
    assert ours == theirs


@pytest.mark.skipif(not hasattr(F, "linear_cross_entropy"), reason="new in torch 2.13")
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_options_of_torch_are_torchs(reduction):
    given = arguments("linear_cross_entropy", grad=True)
    options = torch.nn.LinearCrossEntropyOptions(batch_chunk_size=2)
    for more in ({}, dict(ignore_index=2), dict(ignore_index=None)):
        keywords = dict(reduction=reduction, options=options) | more
        values = [
            f(**given, **keywords) for f in (ops.linear_cross_entropy, F.linear_cross_entropy)
        ]
        assert torch.equal(*values) and values[0].grad_fn.name() == values[1].grad_fn.name()
    ours = ops.linear_cross_entropy(**given, reduction=reduction, options=None)
    assert torch.equal(ours, ops.linear_cross_entropy(**given, reduction=reduction))


def test_options_need_a_torch_that_has_them(monkeypatch):
    monkeypatch.delattr(F, "linear_cross_entropy", raising=False)
    with pytest.raises(ValueError, match=r"which torch has from 2\.13 on"):
        ops.linear_cross_entropy(**arguments("linear_cross_entropy"), options=object())


def test_numbers_that_change_break_no_graph():
    torch._dynamo.reset()
    given = arguments("segment_cross_entropy")

    @torch.compile(fullgraph=True, dynamic=True, backend="eager")
    def both(number):
        plain = ops.cross_entropy(given["logits"], given["target"], label_smoothing=number)
        return plain + ops.segment_cross_entropy(**given, z_loss=number, softcap=9 + number).loss

    assert all(both(number).isfinite() for number in (0.1, 0.2, 0.3))
