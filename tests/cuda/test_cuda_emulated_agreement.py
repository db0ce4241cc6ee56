"""The CUDA kernel of group agreement executed on the CPU against the definitions, pair by pair."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import pytest
import torch
from cuda_emulation_build import ONE_SCHEDULE, SCHEDULES, Emulated, Schedules, build_kernels
from torch import Tensor

from percbal_ops.agreement import KINDS, reference

# Tokens of the rollouts of each group: alone, empty, short, beyond 64, and beyond the 256 threads
# of a block; a group without rollouts between others.
GROUPS = [[3], [0, 0], [0, 4], [], [5, 5, 5, 6], [1, 64, 65, 70], [290, 290, 290, 210], [0]]


class RaggedGroups(ctypes.Structure):
    """struct RaggedGroups, csrc/core/agreement/agreement.h."""

    _fields_ = [
        ("tokens", ctypes.c_void_p),
        ("offsets", ctypes.c_void_p),
        ("order", ctypes.c_void_p),
        ("group", ctypes.c_void_p),
        ("groups", ctypes.c_int64),
    ]


@dataclass
class Batch:
    rollouts: list[Tensor]
    order: Tensor  # (R) or (0) int32
    group: Tensor  # (G + 1)


def batch(groups: list[list[int]], scattered: bool = False) -> Batch:
    """Of three rollouts in a row the second begins like the first; the third, where they are as
    long, is the second but for the last token."""
    g = torch.Generator().manual_seed(len(groups))
    rollouts: list[Tensor] = []
    for lengths in groups:
        for i, length in enumerate(lengths):
            tokens = torch.randint(6, (length,), generator=g) * 10**12 - 5
            if i % 3 > 0:
                before = rollouts[-1][: length - i % 3 + 1]
                tokens[: len(before)] = before
            rollouts.append(tokens)
    order = torch.empty(0, dtype=torch.int32)
    if scattered:
        order = torch.randperm(len(rollouts), generator=g).to(torch.int32)
        rollouts = [rollouts[member] for member in order.argsort()]
    return Batch(rollouts, order, torch.tensor([0, *map(len, groups)]).cumsum(0))


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Emulated:
    return build_kernels("agreement", tmp_path_factory)


def check(emulated: Emulated, kind: str, given: Batch, schedules: Schedules = SCHEDULES) -> None:
    lengths = [len(r) for r in given.rollouts]
    offsets, tokens = torch.tensor([0, *lengths]).cumsum(0), torch.cat(given.rollouts)
    number, sizes = KINDS.index(kind), (len(lengths), max(lengths))
    truth = reference.group_agreement(
        tokens, offsets, given.order, given.group, number, max(lengths)
    )
    if kind == "set":  # the kernel takes the tokens of a rollout sorted
        tokens = torch.cat([r.sort().values for r in given.rollouts])
    view = RaggedGroups(
        tokens.data_ptr(),
        offsets.data_ptr(),
        given.order.data_ptr() if len(given.order) else None,
        given.group.data_ptr(),
        len(given.group) - 1,
    )
    scratch = ((emulated.number("scratch_size", *sizes),), torch.int32)
    out = ((len(lengths),), torch.float32)
    arguments, outputs = (view, number, *sizes), [scratch, out]
    _, ours = emulated.run("group_agreement", *arguments, outputs=outputs, schedules=schedules)
    torch.testing.assert_close(ours, truth, rtol=1e-6, atol=0, equal_nan=True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scattered", [False, True])
def test_every_kind_equals_its_definition(emulated: Emulated, kind: str, scattered: bool) -> None:
    check(emulated, kind, batch(GROUPS, scattered))


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_take_several_rollouts_where_there_are_many(emulated: Emulated, kind: str) -> None:
    many = batch([[2, 2, 0, 1, 3]] * 210, scattered=True)
    assert len(many.rollouts) > 1024  # kMaxBlocks
    check(emulated, kind, many, ONE_SCHEDULE)


def test_no_rollouts_launch_nothing(emulated: Emulated) -> None:
    out = [((0,), torch.float32)]
    nothing = (RaggedGroups(), KINDS.index("edit"), 0, 0, None)
    assert emulated.run("group_agreement", *nothing, outputs=out)[0].shape == (0,)
