"""The emulation of CUDA notices a kernel that is wrong: what the other emulated tests rely on."""

import pytest
import torch
from cuda_emulation_build import SHIMS, Emulated, build

BLOCKS, THREADS = 3, 64
FAULTS = [  # enum Fault, from 1 on
    "depends on which thread goes first",
    "wait for others that never come",
    "meet in different instructions",
    "wrote beyond an output",
    "depends on which thread goes first",
]


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Emulated:
    return build(SHIMS / "faults.cu", tmp_path_factory)


def neighbours(emulated: Emulated, fault: int) -> torch.Tensor:
    outputs = [((BLOCKS,), torch.int32), ((BLOCKS, THREADS), torch.int32)]
    return emulated.run("neighbours", fault, BLOCKS, outputs=outputs)[1]


def check_sound_kernel(emulated: Emulated) -> None:
    i = torch.arange(THREADS, dtype=torch.int32)
    blocks = torch.arange(BLOCKS, dtype=torch.int32)[:, None]
    assert torch.equal(neighbours(emulated, 0), (i + 1) % THREADS + (i ^ 1) + 1000 * blocks)


@pytest.mark.parametrize("fault", range(1, len(FAULTS) + 1))
def test_fault_is_noticed_and_the_next_launch_runs(emulated: Emulated, fault: int) -> None:
    with pytest.raises(AssertionError, match=FAULTS[fault - 1]):
        neighbours(emulated, fault)
    check_sound_kernel(emulated)
