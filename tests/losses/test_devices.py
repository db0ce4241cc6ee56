"""Tensors of one call lie on one device, and which devices the kernels take."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses import FakeTensorMode

import percbal_ops as ops


def tensors(device="cpu"):
    """One of each argument: four tokens or rollouts, seven classes, two segments."""
    shapes = dict(logits=(4, 7), logits_shard=(4, 7), hidden=(4, 3), head=(7, 3), bias=(7,))
    shapes |= dict(segment_weights=(2,), segment_counts=(2,), class_weight=(7,))
    shapes |= dict(outcome=(4,), perception=(4,), reasoning=(4,), reward=(4,))
    indices = dict(target=(4,), segment_ids=(4,), tokens=(4,), offsets=(5,), group=(4,))
    known = {name: torch.ones(shape, device=device) for name, shape in shapes.items()}
    for name, shape in indices.items():
        known[name] = torch.ones(shape, dtype=torch.int64, device=device)
    return known


SEGMENTS = ("target", "segment_ids", "segment_weights", "segment_counts")
# every function on tensors that does not hand such calls to torch: its first tensor, the others
TAKES = {
    "segment_cross_entropy": ("logits", *SEGMENTS, "class_weight"),
    "linear_segment_cross_entropy": ("hidden", "head", "bias", *SEGMENTS),
    "linear_token_logprob": ("hidden", "head", "bias", "target"),
    "vocab_parallel_cross_entropy": ("logits_shard", "target", "class_weight"),
    "vocab_parallel_segment_cross_entropy": ("logits_shard", *SEGMENTS, "class_weight"),
    "group_agreement": ("tokens", "offsets", "group"),
    "group_advantage": ("reward", "group"),
    "reward_coupling": ("outcome", "perception", "reasoning", "group"),
}
CASES = [(name, moved) for name, (_, *others) in TAKES.items() for moved in others]


def call(name, given):
    more = dict(vocab_start=0) if name.startswith("vocab") else {}
    return getattr(ops, name)(**given, **more)


@pytest.mark.parametrize("name, moved", CASES)
def test_a_tensor_on_another_device_is_named(name, moved):
    """A kernel would read its address as one of its own device."""
    known, first = tensors(), TAKES[name][0]
    given = {argument: known[argument] for argument in TAKES[name]}
    given[moved] = given[moved].to("meta")
    with pytest.raises(ValueError, match=rf"^{moved} is on meta, {first} on cpu$"):
        call(name, given)


@pytest.mark.parametrize("moved", SEGMENTS)
@pytest.mark.parametrize("name", ["segment_cross_entropy", "linear_segment_cross_entropy"])
def test_two_gpus_are_two_devices(name, moved):
    """Under device_map="auto" the logits come from the last GPU, the labels from the first."""
    first, *_ = TAKES[name]
    with FakeTensorMode():
        known = tensors("cuda:1")
        given = {argument: known[argument] for argument in TAKES[name]}
        assert call(name, given).loss.device == torch.device("cuda:1")
        given[moved] = tensors("cuda:0")[moved]
        with pytest.raises(ValueError, match=rf"^{moved} is on cuda:0, {first} on cuda:1$"):
            call(name, given)


@pytest.mark.parametrize("moved", ["perception", "reasoning", "group"])
def test_running_statistics_take_a_batch_of_one_device(moved):
    given = {key: tensors()[key] for key in TAKES["reward_coupling"]}
    given[moved] = given[moved].to("meta")
    with pytest.raises(ValueError, match=rf"^{moved} is on meta, outcome on cpu$"):
        ops.CouplingStats(reasoning=True).update(**given)


@pytest.fixture
def torchs(monkeypatch):
    """What torch's own functions return, so that one sees who was asked."""
    for name in ("cross_entropy", "linear_cross_entropy"):
        monkeypatch.setattr(F, name, lambda *_, **__: "torch's", raising=False)
    return "torch's"


@pytest.mark.parametrize(
    "device, ours", [("mps", False), ("xpu", False), ("cuda", True), ("meta", True), ("cpu", True)]
)
def test_other_devices_are_torchs(device, ours, torchs):
    """The sums over rows are float64, which mps lacks."""
    with FakeTensorMode():
        known = tensors(device)
        target = known["target"]
        for loss in (
            ops.cross_entropy(known["logits"], target),
            ops.linear_cross_entropy(known["hidden"], known["head"], target),
        ):
            assert isinstance(loss, torch.Tensor) if ours else loss == torchs


def test_nothing_takes_the_place_of_logits_where_torch_computes(torchs):
    with FakeTensorMode():
        known = tensors("mps")
        with pytest.raises(ValueError, match=r"^inplace=True needs input\.device .*, got mps:0$"):
            ops.cross_entropy(known["logits"], known["target"], inplace=True)
